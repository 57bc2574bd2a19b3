//! The bare blocking loop as a program: see `floor/blocking.rs`.

fn main() {
    linerate_benches::floor::run(
        linerate_benches::floor_blocking::serve,
        linerate_benches::floor_blocking::load,
    );
}
