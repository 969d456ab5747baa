//! A folder read into memory, once, within limits.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;

/// Why a folder cannot be served.
#[derive(Debug)]
#[non_exhaustive]
pub enum FilesError {
    /// Something could not be read.
    Io {
        /// What it was.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A link leads out of the folder, or to another folder.
    Link {
        /// The link.
        path: PathBuf,
    },
    /// A name is not UTF-8, or it names neither a file nor a folder.
    Odd {
        /// What it was.
        path: PathBuf,
    },
    /// There are too many files and folders.
    TooMany {
        /// The most that there may be.
        max: usize,
    },
    /// The files are too large together.
    TooLarge {
        /// The most bytes that they may have.
        max: u64,
        /// The file that passed it.
        path: PathBuf,
    },
}

impl fmt::Display for FilesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "cannot read {}: {source}", path.display()),
            Self::Link { path } => write!(
                f,
                "{} is a link out of the folder, or to a folder; only links to files inside are followed",
                path.display()
            ),
            Self::Odd { path } => {
                write!(f, "{path:?} is neither a file nor a folder, or its name is not UTF-8")
            }
            Self::TooMany { max } => {
                write!(f, "the folder has more than the maximum of {max} files and folders")
            }
            Self::TooLarge { max, path } => write!(
                f,
                "with {} the files pass the maximum of {max} bytes together",
                path.display()
            ),
        }
    }
}

impl std::error::Error for FilesError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// The paths of all files in a folder, each from a slash on, and their bytes.
pub(super) fn load(
    folder: &Path,
    max_bytes: u64,
    max_files: usize,
) -> Result<Vec<(String, Bytes)>, FilesError> {
    let root = canonical(folder)?;
    let mut loaded = Vec::new();
    let mut bytes_left = max_bytes;
    let mut entries_left = max_files;
    let mut folders = vec![(root.clone(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        let failed = |source| FilesError::Io { path: folder.clone(), source };
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let name = name.ok_or_else(|| FilesError::Odd { path: path.clone() })?;
            if name.starts_with('.') {
                continue;
            }
            entries_left =
                entries_left.checked_sub(1).ok_or(FilesError::TooMany { max: max_files })?;
            let key = format!("{prefix}/{name}");
            if is_folder(&path, &root)? {
                folders.push((path, key));
                continue;
            }
            let too_large = || FilesError::TooLarge { max: max_bytes, path: path.clone() };
            let bytes = read(&path, bytes_left)?.ok_or_else(too_large)?;
            bytes_left -= bytes.len() as u64;
            loaded.push((key, bytes));
        }
    }
    Ok(loaded)
}

fn canonical(path: &Path) -> Result<PathBuf, FilesError> {
    fs::canonicalize(path).map_err(|source| FilesError::Io { path: path.into(), source })
}

/// Whether this is a folder to go into, or else a file to read.
fn is_folder(path: &Path, root: &Path) -> Result<bool, FilesError> {
    let failed = |source| FilesError::Io { path: path.into(), source };
    let kind = fs::symlink_metadata(path).map_err(failed)?.file_type();
    if kind.is_symlink() {
        // A link to a folder may be one in a ring.
        let inside = canonical(path)?.starts_with(root);
        let is_file = fs::metadata(path).map_err(failed)?.is_file();
        return if inside && is_file {
            Ok(false)
        } else {
            Err(FilesError::Link { path: path.into() })
        };
    }
    if kind.is_dir() || kind.is_file() {
        Ok(kind.is_dir())
    } else {
        Err(FilesError::Odd { path: path.into() })
    }
}

/// The file's bytes, or `None` if they are more than `most`: it is not read further than that, whatever its length says.
fn read(path: &Path, most: u64) -> Result<Option<Bytes>, FilesError> {
    let failed = |source| FilesError::Io { path: path.into(), source };
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    Ok((bytes.len() as u64 <= most).then(|| bytes.into()))
}
