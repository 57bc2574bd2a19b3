//! The bare uring loop as a program: see `floor/uring.rs`.

#[cfg(target_os = "linux")]
fn main() {
    linerate_benches::floor::run(
        linerate_benches::floor_uring::serve,
        linerate_benches::floor_uring::load,
    );
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("floor-uring needs Linux");
    std::process::exit(3);
}
