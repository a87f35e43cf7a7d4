//! Runs one part a number of times and nothing else, for `scripts/instructions`, which counts.

use std::process::ExitCode;

use qwormhole_benches::PARTS;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["list"] => PARTS.iter().for_each(|part| println!("{} {}", part.name, part.messages)),
        [name, runs] => {
            let (Some(part), Ok(runs)) = (PARTS.iter().find(|part| part.name == name), runs.parse::<u32>())
            else {
                eprintln!("no such part, or no number of runs; `instructions list` names the parts");
                return ExitCode::from(2);
            };
            let mut run = (part.prepare)();
            (0..runs).for_each(|_| run());
        }
        _ => {
            eprintln!("usage: instructions list | instructions PART RUNS");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}
