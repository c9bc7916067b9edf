//! Private keys of issuers in files: for their owner alone, and never overwritten.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use super::KeyError as FileError;
use super::issuer::IssuerKey;

/// Largest key file. An RSA key of 8192 bits has 7 kB.
const FILE_MAX: u64 = 16_384;

/// Reads a private JWK.
///
/// # Errors
/// When it cannot be read, is open to everybody, or is no private key.
pub fn load(path: &Path) -> Result<IssuerKey, FileError> {
    let metadata = fs::metadata(path).map_err(FileError::io(path, "look at"))?;
    if metadata.permissions().mode() & 0o007 != 0 {
        return Err(FileError::Exposed(path.to_owned()));
    }
    let invalid = |what: String| FileError::io(path, "use")(io::Error::new(io::ErrorKind::InvalidData, what));
    if metadata.len() > FILE_MAX {
        return Err(invalid(format!("it has more than {FILE_MAX} bytes")));
    }
    let bytes = fs::read(path).map_err(FileError::io(path, "read"))?;
    IssuerKey::parse(&bytes).map_err(|error| invalid(error.to_string()))
}

/// Writes a private JWK to a new file, durably.
///
/// # Errors
/// When there is a file already, or it cannot be written.
pub fn create(path: &Path, key: &IssuerKey) -> io::Result<()> {
    // With nothing in it before, so that no one can have it open already.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{}", key.to_private_jwk())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::jwk::Algorithm;

    #[test]
    fn a_key_is_for_its_owner_and_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("k.jwk");
        let key = IssuerKey::generate(Algorithm::ES256, None).unwrap();
        create(&path, &key).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(create(&path, &key).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(load(&path).unwrap().kid(), key.kid());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(load(&path), Err(FileError::Exposed(_))));
    }
}
