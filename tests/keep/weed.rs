//! A real object store: SeaweedFS on loopback. `./dev test` installs it; without it the test says so.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::world::until;

/// One that runs. Killed when dropped.
pub(super) struct Weed {
    child: Child,
    directory: tempfile::TempDir,
    ports: [u16; 4],
}

/// Where the program is, if it is installed.
pub(super) fn program() -> Option<PathBuf> {
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/seaweedfs/bin/weed");
    installed.exists().then_some(installed)
}

impl Weed {
    /// Starts one with a bucket `evidence`.
    pub(super) async fn start(program: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let identity = serde_json::json!({ "identities": [{
            "name": "test", "credentials": [{ "accessKey": "key", "secretKey": "secret" }],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"] }] });
        std::fs::write(directory.path().join("s3.json"), identity.to_string()).unwrap();
        std::fs::create_dir(directory.path().join("data")).unwrap();
        let ports = std::array::from_fn(|_| free_port());
        let weed = Self { child: spawn(program, directory.path(), ports), directory, ports };
        weed.is_up().await;
        let mut shell = Command::new(program)
            .args(["shell", &format!("-master=127.0.0.1:{}", ports[0])])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        shell.stdin.take().unwrap().write_all(b"s3.bucket.create -name evidence\n").unwrap();
        assert!(shell.wait().unwrap().success());
        weed
    }

    /// `kill -9`, and another one on what it left.
    pub(super) async fn restart(&mut self, program: &Path) {
        self.kill();
        self.child = spawn(program, self.directory.path(), self.ports);
        self.is_up().await;
    }

    pub(super) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub(super) fn environment(&self) -> Vec<(String, String)> {
        let endpoint = format!("http://127.0.0.1:{}", self.ports[3]);
        let set = [
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ENDPOINT_URL", &endpoint),
            ("AWS_ALLOW_HTTP", "true"),
        ];
        set.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    }

    async fn is_up(&self) {
        // The S3 side listens last; the volumes have to be known to the master before a write succeeds.
        let port = self.ports[3];
        until("SeaweedFS listens", || std::net::TcpListener::bind(("127.0.0.1", port)).is_err()).await;
        let master = self.ports[0];
        let assigned = || async move {
            let answer = crate::world::get(([127, 0, 0, 1], master).into(), "/dir/assign").await;
            answer.status == 200 && answer.text().contains("\"fid\"")
        };
        for _ in 0..600 {
            if assigned().await {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("SeaweedFS does not take writes; see {:?}", self.directory.path().join("log"));
    }
}

impl Drop for Weed {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(program: &Path, directory: &Path, ports: [u16; 4]) -> Child {
    let log = File::options().create(true).append(true).open(directory.join("log")).unwrap();
    let [master, volume, filer, s3] = ports;
    Command::new(program)
        .args(["server", "-s3", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.volumeSizeLimitMB=64"])
        .arg(format!("-dir={}", directory.join("data").display()))
        .arg(format!("-s3.config={}", directory.join("s3.json").display()))
        .args([format!("-master.port={master}"), format!("-volume.port={volume}")])
        .args([format!("-filer.port={filer}"), format!("-s3.port={s3}")])
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// One whose neighbour ten thousand above is free too: SeaweedFS takes that for gRPC.
fn free_port() -> u16 {
    loop {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let port = if port > 55_000 { port - 20_000 } else { port };
        let free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
        drop(listener);
        if free(port) && free(port + 10_000) {
            return port;
        }
    }
}
