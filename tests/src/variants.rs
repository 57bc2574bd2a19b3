//! Engines with options, each a driver of its own for the suite.

use engine::driver::{Driver, EngineError, LoadJob, LoadOutcome, Probe, ServeJob, ServeOutcome};
use engine::workload::LoadSpec;

/// An engine with options, under a name of its own: `uring:receive=single`.
#[derive(Clone, Copy)]
pub struct Variant {
    /// As users write it.
    pub name: &'static str,
    /// The engine itself.
    pub engine: &'static dyn Driver,
}

/// The variants that the suite is run on: those that take another path through an engine.
pub static VARIANTS: &[Variant] = &[
    #[cfg(target_os = "linux")]
    uring("uring:receive=single"),
    #[cfg(target_os = "linux")]
    uring("uring:send=zc,zc_threshold=1"),
    #[cfg(target_os = "linux")]
    uring("uring:sqpoll=true,sqpoll_idle=1ms"),
    #[cfg(target_os = "linux")]
    uring("uring:direct=true"),
    #[cfg(target_os = "linux")]
    uring("uring:taskrun=coop,spin=20us,buffers=16"),
    #[cfg(target_os = "linux")]
    uring("uring:batch=8,min_wait=100us,cq_entries=256"),
    #[cfg(target_os = "linux")]
    Variant {
        name: "epoll:trigger=level,batch=2",
        engine: &engine_kqueue::EPOLL,
    },
    #[cfg(target_os = "linux")]
    Variant {
        name: "epoll:spin=50us",
        engine: &engine_kqueue::EPOLL,
    },
    Variant {
        name: "blocking:spin=50us",
        engine: &engine_kqueue::BLOCKING,
    },
    #[cfg(target_os = "linux")]
    Variant {
        name: "tokio-uring:taskrun=coop,sq_entries=16",
        engine: &engine_uring::TOKIO_URING,
    },
    #[cfg(target_os = "linux")]
    Variant {
        name: "monoio:taskrun=defer",
        engine: &engine_uring::MONOIO,
    },
];

#[cfg(target_os = "linux")]
const fn uring(name: &'static str) -> Variant {
    Variant {
        name,
        engine: &engine_uring::URING,
    }
}

impl Variant {
    /// The options after the colon.
    fn options(&self) -> Vec<(String, String)> {
        let (_, options) = self.name.split_once(':').expect("a name with options");
        options
            .split(',')
            .filter_map(|option| option.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }
}

impl Driver for Variant {
    fn name(&self) -> &'static str {
        self.name
    }

    fn describe(&self) -> &'static str {
        self.engine.describe()
    }

    fn probe(&self) -> Probe {
        self.engine.probe()
    }

    fn check_load(&self, spec: &LoadSpec) -> Result<(), String> {
        self.engine.check_load(spec)
    }

    fn serve(&self, mut job: ServeJob) -> Result<ServeOutcome, EngineError> {
        job.engine_options = self.options();
        self.engine.serve(job)
    }

    fn load(&self, mut job: LoadJob) -> Result<LoadOutcome, EngineError> {
        job.engine_options = self.options();
        self.engine.load(job)
    }
}

/// One test per function and variant, like [`crate::for_every_engine`].
#[macro_export]
macro_rules! for_every_variant {
    ($($test:ident),* $(,)?) => {
        #[cfg(target_os = "linux")]
        mod uring_single { $($crate::one_engine!(within, $test, "uring:receive=single");)* }
        #[cfg(target_os = "linux")]
        mod uring_zero_copy { $($crate::one_engine!(within, $test, "uring:send=zc,zc_threshold=1");)* }
        #[cfg(target_os = "linux")]
        mod uring_sqpoll { $($crate::one_engine!(within, $test, "uring:sqpoll=true,sqpoll_idle=1ms");)* }
        #[cfg(target_os = "linux")]
        mod uring_direct { $($crate::one_engine!(within, $test, "uring:direct=true");)* }
        #[cfg(target_os = "linux")]
        mod uring_coop { $($crate::one_engine!(within, $test, "uring:taskrun=coop,spin=20us,buffers=16");)* }
        #[cfg(target_os = "linux")]
        mod uring_batch { $($crate::one_engine!(within, $test, "uring:batch=8,min_wait=100us,cq_entries=256");)* }
        #[cfg(target_os = "linux")]
        mod epoll_level { $($crate::one_engine!(within, $test, "epoll:trigger=level,batch=2");)* }
        #[cfg(target_os = "linux")]
        mod epoll_spin { $($crate::one_engine!(within, $test, "epoll:spin=50us");)* }
        mod blocking_spin { $($crate::one_engine!(within, $test, "blocking:spin=50us");)* }
        #[cfg(target_os = "linux")]
        mod tokio_uring_coop { $($crate::one_engine!(within, $test, "tokio-uring:taskrun=coop,sq_entries=16");)* }
        #[cfg(target_os = "linux")]
        mod monoio_defer { $($crate::one_engine!(within, $test, "monoio:taskrun=defer");)* }
    };
}
