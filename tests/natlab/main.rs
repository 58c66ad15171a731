//! The NAT lab: machines, routers and an Internet of network namespaces, on which calls prove which
//! path they take.
//!
//! `cargo test --test natlab` runs everything and prints tables; words after `--` choose scenarios
//! whose group or name contains one of them (browsers are started only for their groups). The whole
//! binary runs in a sandbox (see `boxed`). Without root or nftables it reports what it skips, and
//! fails if `CI=true`.

mod boxed;
mod browsers;
mod calls;
mod clients;
mod firefox;
mod lab;
mod nat;
mod proof;
mod report;
mod secure;
mod serving;
mod stun;
#[path = "../support/mod.rs"]
mod support;

use std::env;
use std::process::ExitCode;

use boxed::Boxed;
use report::Report;
use support::missing::must_run_all;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        println!("natlab: test");
        return ExitCode::SUCCESS;
    }
    match boxed::enter() {
        Boxed::Ended(code) => return code,
        Boxed::Impossible(reason) => {
            eprintln!("SKIPPED: the whole NAT lab: {reason}");
            return if must_run_all() {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            };
        }
        Boxed::Inside => {}
    }
    std::panic::set_hook(Box::new(|panic| eprintln!("natlab: {panic}")));
    let filters = arguments
        .into_iter()
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let mut report = Report::new(filters);
    proof::run(&mut report);
    clients::run(&mut report);
    calls::run(&mut report);
    browsers::run(&mut report);
    secure::run(&mut report);
    report.finish()
}
