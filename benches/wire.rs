//! What the codec takes for one packet. `cargo bench --bench wire`.

#[allow(
    dead_code,
    reason = "the world of the other benches, of which this one needs only the codec's scenarios"
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
