//! Jobs in a process of their own, to be killed or to live under limits: this test binary runs itself.

use std::process::{Child, Command, Stdio};

use gristmill_core::{Control, Error};
use gristmill_score::jobs;
use serde::Serialize;
use serde_json::{Value, json};

const REQUEST: &str = "GRISTMILL_TEST_REQUEST";
const RESULT: &str = "GRISTMILL_TEST_RESULT";

/// Not a test of its own: what the child process runs. Does nothing when it is not asked to.
#[test]
fn entry() {
    let Ok(request) = std::env::var(REQUEST) else { return };
    let request: Value = serde_json::from_str(&request).unwrap();
    let options = request["options"].clone();
    let control = Control::default();
    let result = match request["job"].as_str().unwrap() {
        "fit" => outcome(jobs::fit::run(serde_json::from_value(options).unwrap(), &control)),
        "score" => outcome(jobs::score::run(serde_json::from_value(options).unwrap(), &control)),
        "select" => outcome(jobs::select::run(serde_json::from_value(options).unwrap(), &control)),
        other => panic!("{other}"),
    };
    std::fs::write(std::env::var(RESULT).unwrap(), result.to_string()).unwrap();
}

fn outcome<T: Serialize>(result: Result<T, Error>) -> Value {
    match result {
        Ok(summary) => json!({ "ok": summary }),
        Err(e) => json!({ "code": e.code().as_str(), "message": e.to_string() }),
    }
}

/// A job in a child process.
pub(crate) struct Run {
    pub(crate) child: Child,
    result: tempfile::NamedTempFile,
}

/// Starts a job; `shell` is put before the command, such as `ulimit -f 100;`.
pub(crate) fn start(job: &str, options: &impl Serialize, shell: &str) -> Run {
    let result = tempfile::NamedTempFile::new().unwrap();
    let request = json!({ "job": job, "options": options });
    let command = format!("{shell} exec \"$0\" child::entry --exact --test-threads 1");
    let child = Command::new("sh")
        .args(["-c", &command])
        .arg(std::env::current_exe().unwrap())
        .env(REQUEST, request.to_string())
        .env(RESULT, result.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Run { child, result }
}

impl Run {
    /// Waits for the end; the result, or `None` when the process died before it had one.
    pub(crate) fn wait(mut self) -> Option<Value> {
        let status = self.child.wait().unwrap();
        let text = std::fs::read_to_string(self.result.path()).unwrap();
        if text.is_empty() {
            assert!(!status.success(), "the child ended well without a result");
            return None;
        }
        Some(serde_json::from_str(&text).unwrap())
    }
}
