//! The last chapter: somebody who does not trust us checks one decision, with a program, a file, a hash and a public key.

use std::process::{Command, Stdio};

use serde_json::Value;

use super::{Story, unexpected};
use crate::cli::failure::Failure;
use crate::cli::remote::encoded;
use countersign::archive::DataDir;
use countersign::config::Config;
use countersign::evidence::notes;

impl Story<'_> {
    /// Proves a decision out of the log, as it was answered, to an outsider.
    pub(super) async fn an_outsider(&mut self, decision: &Value) -> Result<(), Failure> {
        self.chapter("an outsider");
        let text = |pointer: &str| decision.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (id, leaf) = (text("/id"), text("/evidence/leaf"));
        let proof = self.server.remote()?.text(&format!("/v1/decisions/{}/proof", encoded(&id))).await?;
        let config = Config::load(Some(&self.world.config_file()), [])?;
        let data = DataDir::open(&config.data_dir)?;
        let epoch = countersign::record::DecisionId::parse(&id).map_or(1, |id| id.epoch);
        let key = notes::vkey(data.reader().dir(), epoch).map_err(|error| unexpected(&error))?;
        let key = key.map(|key| key.to_string()).unwrap_or_default();
        // A directory of its own: nothing of ours is within reach.
        let place = self.world.config_file().with_file_name("outsider");
        let file = place.join("decision.tlog-proof");
        let written = std::fs::create_dir_all(&place).and_then(|()| std::fs::write(&file, &proof));
        written.map_err(|error| Failure::new(place.display(), error, "check that the temporary directory can be written"))?;
        let check = |leaf: &str| {
            let program = std::env::current_exe().map_err(|error| unexpected(&error))?;
            let mut command = Command::new(program);
            command.args(["evidence", "check-proof", "decision.tlog-proof", "--leaf", leaf, "--key", &key]);
            command.current_dir(&place).env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command.status().map(|status| status.success()).map_err(|error| unexpected(&error))
        };
        let proven = check(&leaf)?;
        let note = format!("{} bytes of proof", proof.len());
        self.step("offline, with the proof, the leaf hash and a public key: proven", proven, &note);
        let forged = countersign::values::Digest::of(b"another record").to_string();
        self.step("the same proof for another record: not proven", !check(&forged)?, "");
        Ok(())
    }
}
