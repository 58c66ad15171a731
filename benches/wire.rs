//! The cost of the codec for one packet. Run by `cargo bench --bench wire`.

#[allow(
    dead_code,
    reason = "shared with other benchmarks; this one needs only the codec's scenarios"
)]
mod world;

use world::scenario::WIRE;

fn main() {
    divan::main();
}

#[divan::bench(args = WIRE.iter().map(|(name, _)| *name))]
fn codec(bencher: divan::Bencher, name: &str) {
    let prepare = WIRE
        .iter()
        .find(|(known, _)| *known == name)
        .expect("a scenario")
        .1;
    bencher.bench_local(prepare());
}
