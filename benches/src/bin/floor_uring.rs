//! The bare uring loops as a program: see `floor/uring.rs` and `floor/churn_uring.rs`.

#[cfg(target_os = "linux")]
fn main() {
    use linerate_benches::{floor_churn_uring, floor_uring};
    linerate_benches::floor::run(&linerate_benches::floor::Loops {
        serve: [floor_uring::serve, floor_churn_uring::serve],
        load: [floor_uring::load, floor_churn_uring::load],
    });
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("floor-uring needs Linux");
    std::process::exit(3);
}
