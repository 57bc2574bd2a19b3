//! The bare epoll loop as a program: see `floor/epoll.rs`.

#[cfg(target_os = "linux")]
fn main() {
    linerate_benches::floor::run(
        linerate_benches::floor_epoll::serve,
        linerate_benches::floor_epoll::load,
    );
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("floor-epoll needs Linux");
    std::process::exit(3);
}
