//! Several hosts on one machine: network namespaces on a bridge, made and removed here.

use crate::binary::Call;
use crate::settings::{Host, ip, made_for};

/// Hosts on a bridge. Dropping it removes all of them.
pub struct Network {
    /// The host with the bridge, which is joined to none of the others but by it.
    pub switch: Host,
    /// The others; the first is 10.213.9.1.
    pub hosts: Vec<Host>,
}

/// The address of host number `index` of a [`Network`].
pub fn address(index: usize) -> String {
    format!("10.213.9.{}", index + 1)
}

/// The command that leads to host number `index`.
pub fn via(hosts: &[Host], index: usize) -> String {
    format!("ip netns exec {}", hosts[index].name)
}

impl Network {
    /// So many hosts, or a line that says why there are none.
    pub fn for_test(test: &str, hosts: usize) -> Option<Self> {
        let switch = Host::for_test(test)?;
        let hosts: Option<Vec<Host>> = (0..hosts).map(|_| Host::for_test(test)).collect();
        let network = Self {
            switch,
            hosts: hosts?,
        };
        let made = network.join();
        made_for(test, made, "bridges").then_some(network)
    }

    fn join(&self) -> Result<(), String> {
        let switch = &self.switch.name;
        ip(&format!("-n {switch} link add br0 type bridge"))?;
        ip(&format!("-n {switch} link set br0 up"))?;
        for (index, host) in self.hosts.iter().enumerate() {
            let (name, at) = (&host.name, address(index));
            ip(&format!(
                "-n {switch} link add p{index} type veth peer name v0 netns {name}"
            ))?;
            ip(&format!("-n {switch} link set p{index} master br0"))?;
            ip(&format!("-n {switch} link set p{index} up"))?;
            ip(&format!("-n {name} addr add {at}/24 dev v0"))?;
            ip(&format!("-n {name} link set v0 up"))?;
        }
        Ok(())
    }

    /// Pulls the cable of host number `index`.
    ///
    /// # Panics
    /// When it cannot be pulled.
    pub fn cut_off(&self, index: usize) {
        let name = &self.hosts[index].name;
        ip(&format!("-n {name} link set v0 down")).expect("a cable");
    }

    /// `linerate run rr` with its load on the first `loads` hosts and its testee on the others.
    pub fn run(&self, loads: usize, more: &[&str]) -> Call {
        let vias: Vec<String> = (0..self.hosts.len())
            .map(|index| via(&self.hosts, index))
            .collect();
        let addresses: Vec<String> = (loads..self.hosts.len()).map(address).collect();
        let mut line = vec!["run", "rr"];
        for via in &vias[..loads] {
            line.extend(["--load-via", via]);
        }
        for (via, address) in vias[loads..].iter().zip(&addresses) {
            line.extend(["--testee-via", via, "--testee-host", address]);
        }
        line.extend(more);
        self.switch.linerate(&line)
    }
}
