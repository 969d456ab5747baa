//! Both commands once and in short: they run, they write what they say, and they say whether it held.

use std::path::PathBuf;
use std::process::{Command, Output};

/// Runs the program; whether it succeeded, and what it printed.
fn soak(args: &[&str]) -> (bool, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_wheelhouse-soak")).args(args).output().expect("a child");
    let said =
        format!("{}\n{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    (status.success(), said)
}

fn out(name: &str) -> (PathBuf, String) {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let text = path.to_str().expect("a path that is text").to_owned();
    (path, text)
}

fn json(path: &std::path::Path) -> serde_json::Value {
    let raw = std::fs::read(path).expect("raw figures");
    serde_json::from_slice(&raw).expect("JSON")
}

fn assert_that_it_is_a_plot(path: &std::path::Path, curves: &[&str]) {
    let plot = std::fs::read_to_string(path).expect("a plot");
    assert!(plot.starts_with("<svg") && plot.trim_end().ends_with("</svg>"), "{plot}");
    for curve in curves {
        assert!(plot.contains(curve), "{curve}");
    }
}

/// Wants `wheelhouse-chat` built, as `cargo test --workspace` does; alone, `cargo build -p wheelhouse-chat` first.
#[test]
fn three_seconds_of_soak_hold() {
    let (path, text) = out("soak");
    let (held, said) = soak(&["soak", "--minutes", "0.05", "--seed", "7", "--out", &text]);
    let report = json(&path.join("soak.json"));
    assert_eq!(report["errors"], serde_json::json!([]), "{said}");
    for check in report["checks"].as_array().expect("checks") {
        // In three seconds nothing is warm, so memory may still grow.
        let is_memory = check["what"].as_str().is_some_and(|what| what.starts_with("memory"));
        assert!(is_memory || check["holds"] == true, "{check}\n{said}");
        assert!(!held || check["holds"] == true, "success in spite of {check}");
    }
    assert_eq!(report["seed"], 7);
    assert!(report["samples"].as_array().is_some_and(|samples| samples.len() >= 10));
    assert!(report["latency"][0]["count"].as_u64() > Some(50), "{said}");
    assert_that_it_is_a_plot(&path.join("soak.svg"), &["lines", "length", "chat", "visit p99"]);
    let csv = std::fs::read_to_string(path.join("samples.csv")).expect("samples");
    assert!(csv.starts_with("seconds,resident_kib_lines"), "{csv}");
    assert!(said.contains("seed: --seed 7"), "{said}");
}

#[test]
fn a_short_overload_measures_every_step() {
    let (path, text) = out("overload");
    let (held, said) =
        soak(&["overload", "--step-ms", "100", "--rounds", "1", "--no-verdict", "--out", &text]);
    assert!(held, "{said}");
    let report = json(&path.join("overload.json"));
    assert!(report["capacity"].as_f64() > Some(0.0), "{said}");
    let steps = report["steps"].as_array().expect("three kinds");
    assert_eq!(steps.len(), 3);
    for steps in steps {
        let steps = steps.as_array().expect("steps");
        assert_eq!(steps.len(), 11, "{said}");
        // How much of it a busy machine gets done in so short a time is open; that each has its account is not.
        for step in steps {
            let each = ["served", "late", "refused", "unanswered"].map(|name| step[name].as_u64());
            let all: Option<u64> = each.into_iter().sum();
            let (all, rate) = (all.expect("counts"), step["offered"].as_f64().expect("a rate"));
            assert!((all as f64 - rate * 0.1).abs() <= 1.0, "{step}");
        }
    }
    let refused = |kind: usize| -> Option<u64> {
        let steps = steps[kind].as_array().expect("steps");
        steps.iter().map(|step| step["refused"].as_u64()).sum()
    };
    assert_eq!(refused(1), Some(0), "{said}");
    assert!(refused(2) > Some(0), "three times as many as there is room for: {said}");
    assert_that_it_is_a_plot(
        &path.join("overload.svg"),
        &["refusing", "taking all", "refusal p99"],
    );
}

#[test]
fn a_bad_argument_is_named() {
    let (held, said) = soak(&["soak", "--minutes", "0"]);
    assert!(!held);
    assert!(said.contains("a number of minutes is wanted"), "{said}");
}
