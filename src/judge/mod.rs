//! The whole decision, pure.
pub mod dossier;
