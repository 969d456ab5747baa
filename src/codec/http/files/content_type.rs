//! What a file is, by the end of its name.

/// The content type of a path.
pub(super) fn of(path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or_default();
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    match extension.to_ascii_lowercase().as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "txt" => "text/plain; charset=utf-8",
        "md" => "text/markdown; charset=utf-8",
        "xml" => "application/xml",
        "wasm" => "application/wasm",
        "pdf" => "application/pdf",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "ico" => "image/x-icon",
        "woff" => "font/woff",
        "woff2" => "font/woff2",
        "ttf" => "font/ttf",
        "mp3" => "audio/mpeg",
        "ogg" => "audio/ogg",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ending_has_its_type() {
        for (ending, content_type) in [
            ("html htm", "text/html; charset=utf-8"),
            ("css", "text/css; charset=utf-8"),
            ("js mjs", "text/javascript; charset=utf-8"),
            ("json map", "application/json"),
            ("webmanifest", "application/manifest+json"),
            ("txt", "text/plain; charset=utf-8"),
            ("md", "text/markdown; charset=utf-8"),
            ("xml", "application/xml"),
            ("wasm", "application/wasm"),
            ("pdf", "application/pdf"),
            ("svg", "image/svg+xml"),
            ("png PNG", "image/png"),
            ("jpg jpeg", "image/jpeg"),
            ("gif", "image/gif"),
            ("webp", "image/webp"),
            ("avif", "image/avif"),
            ("ico", "image/x-icon"),
            ("woff", "font/woff"),
            ("woff2", "font/woff2"),
            ("ttf", "font/ttf"),
            ("mp3", "audio/mpeg"),
            ("ogg", "audio/ogg"),
            ("mp4", "video/mp4"),
            ("webm", "video/webm"),
            ("exe", "application/octet-stream"),
        ] {
            for ending in ending.split(' ') {
                assert_eq!(of(&format!("/a.css/b.{ending}")), content_type);
            }
        }
        assert_eq!(of("/a.css/README"), "application/octet-stream");
    }
}
