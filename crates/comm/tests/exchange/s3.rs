//! Rounds over S3, as moto speaks it: several processes, conditional creates that race.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use object_store::aws::AmazonS3Builder;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};

use crate::peers::{Peer, expected, finish};
use crate::rounds::block_on;

/// Serves one request at a time: moto honours a conditional create, but looks first and writes then, so that of
/// several at once more than one would succeed.
const SERVE: &str = "
import sys, threading
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple
moto, lock = DomainDispatcherApplication(create_backend_app), threading.Lock()
def application(environ, start_response):
    with lock:
        return list(moto(environ, start_response))
run_simple('127.0.0.1', int(sys.argv[1]), application, threaded=True)
";

/// The Python that has moto: of `$GRISTMILL_PEERS`, or of `target/peers` in the repository, where
/// `benches/peers/setup.sh` installs it. When it is not there and `$GRISTMILL_REQUIRE` has `s3` in it, that is a
/// failure.
fn python() -> Option<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers");
    let peers = std::env::var_os("GRISTMILL_PEERS").map_or_else(default, PathBuf::from);
    let python = peers.join("venv/bin/python");
    let has_moto = Command::new(&python).args(["-c", "import moto.server"]).stderr(Stdio::null()).status();
    if has_moto.is_ok_and(|status| status.success()) {
        return Some(python);
    }
    let required = std::env::var("GRISTMILL_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|r| r.trim() == "s3"), "moto is not installed");
    println!("skipped: moto is not installed (benches/peers/setup.sh does that)");
    None
}

struct Server {
    child: Child,
    url: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start() -> Option<Self> {
        let python = python()?;
        // A port that is free now; the server is not told of the socket, so another may take it in between.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut child = Command::new(python)
            .args(["-c", SERVE, &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || errors.lines().map_while(Result::ok).for_each(drop));
        let server = Self { child, url: format!("http://127.0.0.1:{port}") };
        let started = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(60), "moto does not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
        server.create_bucket(port);
        Some(server)
    }

    /// `PUT /bucket`, which `object_store` has no call for.
    fn create_bucket(&self, port: u16) {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let request = format!(
            "PUT /bucket HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    }

    fn settings(&self) -> [(&'static str, String); 5] {
        [
            ("AWS_ENDPOINT", self.url.clone()),
            ("AWS_ALLOW_HTTP", "true".into()),
            ("AWS_REGION", "us-east-1".into()),
            ("AWS_ACCESS_KEY_ID", "key".into()),
            ("AWS_SECRET_ACCESS_KEY", "secret".into()),
        ]
    }

    fn store(&self) -> Arc<dyn ObjectStore> {
        let mut builder = AmazonS3Builder::new().with_bucket_name("bucket");
        for (key, value) in self.settings() {
            builder = builder.with_config(key.to_ascii_lowercase().parse().unwrap(), value);
        }
        Arc::new(builder.build().unwrap())
    }
}

#[test]
fn of_many_conditional_creates_one_succeeds() {
    let Some(server) = Server::start() else { return };
    for i in 0..20 {
        let create = |writer: usize| {
            let (store, path) = (server.store(), object_store::path::Path::from(format!("race/{i}")));
            move || {
                let options = PutOptions { mode: PutMode::Create, ..Default::default() };
                block_on(store.put_opts(&path, vec![writer as u8; 100].into(), options)).map(|_| writer)
            }
        };
        let won: Vec<usize> = std::thread::scope(|s| {
            let threads: Vec<_> = (0..4).map(|w| s.spawn(create(w))).collect();
            threads.into_iter().filter_map(|t| t.join().unwrap().ok()).collect()
        });
        assert_eq!(won.len(), 1, "round {i}");
        let path = object_store::path::Path::from(format!("race/{i}"));
        let there = block_on(async { server.store().get(&path).await.unwrap().bytes().await.unwrap() });
        assert_eq!(there[0] as usize, won[0]);
    }
}

#[test]
fn peers_over_s3_end_with_the_same_bits() {
    let Some(server) = Server::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let names = ["a", "b", "c"];
    let peers = names.map(|name| Peer::new(dir.path(), "s3://bucket/some/where/run-7", name, 3, 8));
    let mut running: Vec<Child> = peers.iter().map(|p| p.start(&server.settings())).collect();
    // Killed in the middle, and started again.
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(150));
        running[1].kill().unwrap();
        let next = peers[1].start(&server.settings());
        let _ = std::mem::replace(&mut running[1], next).wait();
    }
    running.into_iter().for_each(finish);
    for (peer, expected) in peers.iter().zip(expected(&names, 8)) {
        assert!(peer.result() == expected, "{}", peer.peer);
    }
}
