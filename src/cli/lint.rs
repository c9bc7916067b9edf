//! `lint`
use super::Outcome;
use super::context::Context;
use super::failure::Failure;
use clap::Args;
#[derive(Args)]
pub(crate) struct Lint {}
impl Lint {
    pub(crate) fn run(&self, _context: &Context) -> Result<Outcome, Failure> {
        Ok(Outcome::done(String::new()))
    }
}
