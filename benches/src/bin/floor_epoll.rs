//! The bare epoll loops as a program: see `floor/epoll.rs` and `floor/churn_epoll.rs`.

#[cfg(target_os = "linux")]
fn main() {
    use linerate_benches::{floor_churn_epoll, floor_epoll};
    linerate_benches::floor::run(&linerate_benches::floor::Loops {
        serve: [floor_epoll::serve, floor_churn_epoll::serve],
        load: [floor_epoll::load, floor_churn_epoll::load],
    });
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("floor-epoll needs Linux");
    std::process::exit(3);
}
