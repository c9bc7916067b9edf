//! `doctor`
use super::Outcome;
use super::context::Context;
use super::failure::Failure;
use clap::Args;
#[derive(Args)]
pub(crate) struct Doctor {}
impl Doctor {
    pub(crate) fn run(&self, _context: &Context) -> Result<Outcome, Failure> {
        Ok(Outcome::done(String::new()))
    }
}
