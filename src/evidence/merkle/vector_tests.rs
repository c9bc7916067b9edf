//! Published vectors (read from `../shared/vectors` where they are there), ours, and notes and policies one by one.

use std::path::{Path, PathBuf};

use data_encoding::{BASE64, HEXLOWER};
use serde_json::Value;

use super::*;
use crate::publisher::keys::log::LogKey;
use crate::values::Digest;

/// The published vectors, or a line that says that they were skipped.
fn published(folder: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/vectors").join(folder);
    let there = path.exists();
    if !there {
        println!("skipped: {} is not there", path.display());
    }
    there.then_some(path)
}

fn json_files(dir: &Path) -> Vec<(PathBuf, Value)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(json_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "json") {
            found.push((path.clone(), serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap()));
        }
    }
    found
}

fn digest(value: &Value) -> Option<Digest> {
    let bytes = BASE64.decode(value.as_str()?.as_bytes()).ok()?;
    bytes.try_into().ok().map(Digest::from_bytes)
}

fn hashes(value: &Value) -> Option<Vec<Digest>> {
    value.as_array().map_or(Some(Vec::new()), |hashes| hashes.iter().map(digest).collect())
}

#[test]
fn published_inclusion_proofs() {
    let Some(dir) = published("merkle/inclusion") else { return };
    let files = json_files(&dir);
    assert!(files.len() >= 90, "{} vectors", files.len());
    for (path, vector) in files {
        let number = |name: &str| vector[name].as_u64();
        let holds = (|| {
            let (leaf, root, proof) = (digest(&vector["leafHash"])?, digest(&vector["root"])?, hashes(&vector["proof"])?);
            verify_inclusion(&leaf, number("leafIdx")?, number("treeSize")?, &proof, &root).ok()
        })();
        assert_eq!(holds.is_none(), vector["wantErr"].as_bool().unwrap(), "{}", path.display());
    }
}

#[test]
fn published_consistency_proofs() {
    let Some(dir) = published("merkle/consistency") else { return };
    let files = json_files(&dir);
    assert!(files.len() >= 90, "{} vectors", files.len());
    for (path, vector) in files {
        let holds = (|| {
            let number = |name: &str| vector[name].as_u64();
            // Some roots are placeholders of another length, which only have to be equal or not.
            let root = |name: &str| digest(&vector[name]).or_else(|| Some(Digest::of(vector[name].as_str()?.as_bytes())));
            let (old_root, new_root) = (root("root1")?, root("root2")?);
            // The vectors call a proof from the empty tree useless, and the witness protocol accepts it: so do we.
            let old = number("size1").filter(|old| *old > 0)?;
            verify_consistency(old, &old_root, number("size2")?, &new_root, &hashes(&vector["proof"])?).ok()
        })();
        assert_eq!(holds.is_none(), vector["wantErr"].as_bool().unwrap(), "{}", path.display());
    }
}

fn ours(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/tlog").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn the_reference_tree() {
    let vector = ours("rfc6962_reference_tree.json");
    let list = |name: &str| -> Vec<String> {
        vector[name].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let mut frontier = Frontier::default();
    let roots = list("roots_hex_by_size");
    assert_eq!(frontier.root().hex(), roots[0]);
    for ((leaf, hash), root) in list("leaves_hex").iter().zip(list("leaf_hashes_hex")).zip(&roots[1..]) {
        let leaf = Digest::leaf(&HEXLOWER.decode(leaf.as_bytes()).unwrap());
        assert_eq!(leaf.hex(), hash);
        frontier.push(leaf);
        assert_eq!(&frontier.root().hex(), root);
    }
}

#[test]
fn tiles_by_name_and_count_and_content() {
    let vector = ours("tlog_tiles_vectors.json");
    for row in vector["tile_paths"].as_array().unwrap() {
        let path = row["path"].as_str().unwrap();
        let kind = TileKind::Hashes(u8::try_from(row["level"].as_u64().unwrap()).unwrap());
        let (index, width) = (row["index"].as_u64().unwrap(), u16::try_from(row["width"].as_u64().unwrap()).unwrap());
        assert_eq!(Tile::parse(path), Some(Tile { kind, index, width }), "{path}");
    }
    // Each level's hashes, as a tree of 70,000 leaves completes them.
    let mut levels: Vec<Vec<Digest>> = vec![Vec::new(); 3];
    let mut frontier = Frontier::default();
    let mut sizes: Vec<(u64, &Value)> =
        vector["sizes"].as_object().unwrap().iter().map(|(size, row)| (size.parse().unwrap(), row)).collect();
    sizes.sort_by_key(|(size, _)| *size);
    for (size, row) in sizes {
        for number in frontier.size()..size {
            let leaf = Digest::leaf(format!("entry {number}").as_bytes());
            levels[0].push(leaf);
            frontier.push_telling(leaf, |node, hash| {
                if node.level % 8 == 0 {
                    levels[usize::from(node.level / 8)].push(hash);
                }
            });
        }
        assert_eq!(BASE64.encode(frontier.root().as_bytes()), row["root_b64"].as_str().unwrap(), "{size}");
        let checkpoint = Checkpoint { origin: "evidence.example/test".into(), size, root: frontier.root() };
        assert_eq!(checkpoint.to_string(), row["checkpoint_body"].as_str().unwrap());
        assert_eq!(Checkpoint::parse(&checkpoint.to_string()), Ok(checkpoint));
        for count in row["tile_counts"].as_array().unwrap() {
            let number = |name: &str| count[name].as_u64().unwrap();
            let (full, partial) = Tile::tiles_at(u8::try_from(number("level")).unwrap(), size);
            assert_eq!((full, u64::from(partial)), (number("full"), number("partial_width")), "{size}");
        }
        for sample in row["sample_tiles"].as_array().unwrap() {
            let tile = Tile::parse(sample["path"].as_str().unwrap()).unwrap();
            assert!(tile.is_within(size) && !tile.is_within(tile.index * 256 * (1 << (8 * u32::from(tile.level())))));
            let begin = usize::try_from(tile.index).unwrap() * 256;
            let of = &levels[usize::from(tile.level())][begin..begin + usize::from(tile.width)];
            let bytes: Vec<u8> = of.iter().flat_map(|hash| *hash.as_bytes()).collect();
            assert_eq!(Digest::of(&bytes).hex(), sample["sha256"].as_str().unwrap(), "{tile} at {size}");
        }
    }
}

#[test]
fn names_of_tiles_have_one_spelling() {
    for bad in [
        "tile/0/000/",
        "tile/00/000",
        "tile/64/000",
        "tile/0/x000/001",
        "tile/0/00",
        "tile/0/1000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/x001",
        "tile/0/001/000",
        "tile/entries",
        "tile/-1/000",
        "/tile/0/000",
        "tile/0/000.p",
        "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
        "tile/data/000",
        "tile/8/0/000",
        "",
    ] {
        assert_eq!(Tile::parse(bad), None, "{bad}");
    }
    let entries = Tile { kind: TileKind::Entries, index: 1_234_067, width: 9 };
    assert_eq!(entries.to_string(), "tile/entries/x001/x234/067.p/9");
}

#[test]
fn a_published_log() {
    let Some(dir) = published("tlog/testlog") else { return };
    let mut frontier = Frontier::default();
    let bundle = std::fs::read(dir.join("tile/entries/000.p/15")).unwrap();
    let mut rest = bundle.as_slice();
    for size in 0_u64..=15 {
        let note = Note::parse(&std::fs::read(dir.join(format!("checkpoint.{size}"))).unwrap()).unwrap();
        let checkpoint = Checkpoint::parse(note.text()).unwrap();
        assert_eq!((checkpoint.size, checkpoint.root), (size, frontier.root()));
        assert_eq!(note.to_string().as_bytes(), std::fs::read(dir.join(format!("checkpoint.{size}"))).unwrap());
        if let Some((length, after)) = rest.split_first_chunk::<2>() {
            let (entry, after) = after.split_at(usize::from(u16::from_be_bytes(*length)));
            frontier.push(Digest::leaf(entry));
            rest = after;
        }
    }
}

#[test]
fn the_published_note() {
    let Some(dir) = published("tlog") else { return };
    let note = std::fs::read(dir.join("signed-note-example.note")).unwrap();
    let key = std::fs::read_to_string(dir.join("signed-note-example.vkey")).unwrap();
    let key: Vkey = key.trim().parse().unwrap();
    let parsed = Note::parse(&note).unwrap();
    assert_eq!(parsed.verify([&key]).unwrap().len(), 1);
    assert_eq!(parsed.to_string().as_bytes(), note);
    assert_eq!(key.to_string(), std::fs::read_to_string(dir.join("signed-note-example.vkey")).unwrap().trim());
    let changed = String::from_utf8(note).unwrap().replace("example message", "exemplary message");
    let changed = Note::parse(changed.as_bytes()).unwrap();
    assert_eq!(changed.verify([&key]), Err(NoteError::Invalid("example.com/foo".into())));
}

fn vkey(name: &str, kind: KeyKind, seed: u8) -> Vkey {
    LogKey::from_seed(&[seed; 32]).vkey(name, kind).unwrap()
}

fn sign(vkey: &Vkey, seed: u8, text: &str, time: u64) -> Signature {
    let mut note = Note::new(text.into(), Vec::new());
    LogKey::from_seed(&[seed; 32]).sign(vkey, &mut note, time);
    note.signatures()[0].clone()
}

#[test]
fn notes() {
    let (log, witness) = (vkey("log.example/1", KeyKind::Ed25519, 1), vkey("w.example", KeyKind::Cosignature, 2));
    let text = "a\n\nb\n";
    let mut note = Note::new(text.into(), vec![sign(&log, 1, text, 0), sign(&witness, 2, text, 1_795_000_000)]);
    assert_eq!(Note::parse(note.to_string().as_bytes()), Ok(note.clone()));
    let times: Vec<_> = note.verify([&log, &witness]).unwrap().iter().map(|by| by.time).collect();
    assert_eq!(times, [None, Some(1_795_000_000)]);
    // The same name with another key, and the same key under another name, are unknown: ignored.
    let (other_key, other_name) = (vkey("log.example/1", KeyKind::Ed25519, 3), vkey("log.example/2", KeyKind::Ed25519, 1));
    assert_eq!(note.verify([&other_key, &other_name]), Err(NoteError::Unsigned));
    assert_eq!(note.verify([&other_key, &witness]).unwrap().len(), 1);
    // A second signature of the same key is not added.
    note.add(sign(&log, 1, text, 0));
    assert_eq!(note.signatures().len(), 2);
    // A cosignature's time is covered by it, and one beyond 2^63-1 is none.
    let late = Note::new(text.into(), vec![sign(&witness, 2, text, 1 << 63)]);
    assert!(late.verify([&witness]).is_err());
    for (bad, what) in [
        ("a\n", "no empty line"),
        ("a\n\n", "end in a newline"),
        ("a\n\nb\n", "malformed"),
        ("a\n\n— a AAAAAA==", "end in a newline"),
        ("a\n\n— a AAAAAA==\n", "malformed"),
        ("a\t\n\n— a AAAAAAA=\n", "control"),
        ("a\n\n—  AAAAAAA=\n", "malformed"),
        ("a\n\n— a+b AAAAAAA=\n", "malformed"),
        ("a\n\n- a AAAAAAA=\n", "malformed"),
    ] {
        let error = Note::parse(bad.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(what), "{bad:?}: {error}");
    }
    let many = |count: usize| format!("a\n\n{}", "— a AAAAAAA=\n".repeat(count));
    assert!(Note::parse(many(32).as_bytes()).is_ok());
    assert!(Note::parse(many(33).as_bytes()).is_err());
}

#[test]
fn keys_of_notes() {
    let good = vkey("log.example/1", KeyKind::Ed25519, 1).to_string();
    assert!(good.parse::<Vkey>().is_ok());
    for bad in ["", "a", "a+b", "a+00000000+AAAA", &good.replace("log.", "lag."), &format!("{good} "), &good.replace('+', "-")]
    {
        assert!(bad.parse::<Vkey>().is_err(), "{bad}");
    }
}

#[test]
fn checkpoints_have_one_spelling() {
    let root = BASE64.encode(&[7; 32]);
    let check = |text: &str, good: bool| assert_eq!(Checkpoint::parse(text).is_ok(), good, "{text:?}");
    check(&format!("o\n0\n{root}\n"), true);
    check(&format!("o\n12\n{root}\nextension\n"), true);
    for bad in ["o\n012\nR\n", "o\n-1\nR\n", "o\n+1\nR\n", "\n1\nR\n", "o\n1\nR", "o\n1\n", "o\n1\nR\n\n", "o\n1\nRR\n"] {
        check(&bad.replace('R', &root), false);
    }
    check("o\n18446744073709551616\nAAAA\n", false);
}

#[test]
fn policies() {
    let (log, other) = (vkey("log.example/1", KeyKind::Ed25519, 1), vkey("other.example", KeyKind::Ed25519, 9));
    let witnesses: Vec<Vkey> = (2..5).map(|seed| vkey(&format!("w{seed}.example"), KeyKind::Cosignature, seed)).collect();
    let mut file = format!("# ours\nlog {log} https://log.example/\n\n");
    for (number, witness) in witnesses.iter().enumerate() {
        file.push_str(&format!("witness w{number} {witness}\n"));
    }
    file.push_str("group two 2 w0 w1 w2\ngroup all-of all two w0\n");
    let policy = |quorum: &str| Policy::parse(&format!("{file}quorum {quorum}\n"));
    let text = Checkpoint { origin: "log.example/1".into(), size: 0, root: empty_root() }.to_string();
    let signed = |by: &[u8]| {
        let mut note = Note::new(text.clone(), vec![sign(&log, 1, &text, 0)]);
        by.iter().for_each(|at| note.add(sign(&witnesses[usize::from(*at)], at + 2, &text, 1)));
        note
    };
    for (quorum, by, good) in [
        ("none", &[][..], true),
        ("w0", &[], false),
        ("w0", &[0], true),
        ("two", &[1], false),
        ("two", &[1, 2], true),
        ("all-of", &[1, 2], false),
        ("all-of", &[0, 2], true),
    ] {
        assert_eq!(policy(quorum).unwrap().check(&signed(by)).is_ok(), good, "{quorum} {by:?}");
    }
    // Signed by a witness alone, and by another log: no log stands for this origin.
    let witnessed = Note::new(text.clone(), vec![sign(&witnesses[0], 2, &text, 1)]);
    assert!(matches!(policy("w0").unwrap().check(&witnessed), Err(PolicyError::Log(_))));
    let foreign = Note::new(text.clone(), vec![sign(&other, 9, &text, 0)]);
    assert!(matches!(Policy::of_log(other).check(&foreign), Err(PolicyError::Log(_))));
    for (bad, line) in [
        ("log x\n", 1),
        ("quorum none\n", 2),
        (&*format!("log {log}\n"), 2),
        ("group g any w\n", 1),
        ("quorum g\n", 1),
        ("quorum none\nquorum none\n", 2),
        ("frog\n", 1),
        (&*format!("{file}group g 4 w0 w1\n"), 9),
        (&*format!("{file}group g any g\n"), 9),
        (&*format!("{file}group w0 any w1\n"), 9),
        (&*format!("{file}group d 2 w1 w1\n"), 9),
    ] {
        assert!(
            matches!(Policy::parse(bad), Err(PolicyError::Line { line: at, .. }) if at == line),
            "{bad} {:?}",
            Policy::parse(bad)
        );
    }
}

#[test]
fn proofs_that_travel() {
    let log = vkey("log.example/1", KeyKind::Ed25519, 1);
    let leaves = [Digest::leaf(b"a"), Digest::leaf(b"b")];
    let text = Checkpoint { origin: "log.example/1".into(), size: 2, root: parent(&leaves[0], &leaves[1]) }.to_string();
    let proof =
        TlogProof { index: 1, path: vec![leaves[0]], checkpoint: Note::new(text.clone(), vec![sign(&log, 1, &text, 0)]) };
    let file = proof.to_string();
    assert_eq!(TlogProof::parse(file.as_bytes()), Ok(proof.clone()));
    assert_eq!(proof.verify(&leaves[1]).unwrap().size, 2);
    assert_eq!(proof.verify(&leaves[0]), Err(BundleError::Proof(ProofError::Root)));
    let extra = file.replace("index", "extra AAAA\nindex");
    assert_eq!(TlogProof::parse(extra.as_bytes()), Ok(proof));
    let line = file.lines().nth(2).unwrap();
    for bad in [
        file.replace("@v1", "@v2"),
        file.replace("index 1", "index 01"),
        file.replace("index 1\n", ""),
        file.replace("\n\n", "\n"),
        file.replace(line, &[line; 64].join("\n")),
        file.replace(line, "AAAA"),
        format!("{file}\n"),
        file.replace("index", "extra !\nindex"),
    ] {
        assert!(TlogProof::parse(bad.as_bytes()).is_err(), "{bad}");
    }
}
