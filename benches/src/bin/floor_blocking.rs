//! The bare blocking loops as a program: see `floor/blocking.rs` and `floor/churn_blocking.rs`.

fn main() {
    use linerate_benches::{floor_blocking, floor_churn_blocking};
    linerate_benches::floor::run(&linerate_benches::floor::Loops {
        serve: [floor_blocking::serve, floor_churn_blocking::serve],
        load: [floor_blocking::load, floor_churn_blocking::load],
    });
}
