//! Runs the loaded programs on frames without a network, for tests and the benchmark (`BPF_PROG_TEST_RUN`).

use super::Kernel;
use super::error::KernelError;
use super::load::{classifier, xdp};
use super::sys::{BatchCursor, delete, lookup_batch};
use aya::maps::HashMap;
use aya::programs::{TestRun, TestRunOptions, Xdp, XdpMode};
use sentinel_common::flow::{FlowKey, FlowValue};
use sentinel_common::names::{MAP_REDIRECTS, PROG_EGRESS, PROG_FLOOR_PASS, PROG_INGRESS, PROG_RESTORE};
use sentinel_common::redirect::{RedirectKey, Redirected};
use sentinel_common::settings::SETTING_FLOWS;
use sentinel_common::stat::COUNTERS;
use std::os::fd::AsFd;
use std::time::Duration;

/// An empty XDP program that passes, attached as somebody else's would be: an object and a link of its own.
pub struct Floor(#[expect(dead_code, reason = "held for its end")] aya::Ebpf);

impl Floor {
    /// Attaches it, native.
    ///
    /// # Errors
    /// [`KernelError`] when it cannot be loaded or attached.
    pub fn attach(interface: &str) -> Result<Self, KernelError> {
        let mut ebpf = super::load::bare()?;
        let failed = |error| KernelError::program(PROG_FLOOR_PASS, error);
        let program = xdp(&mut ebpf, PROG_FLOOR_PASS)?;
        program.load().map_err(failed)?;
        program.attach(interface, XdpMode::Driver).map_err(failed)?;
        Ok(Self(ebpf))
    }
}

/// What a program answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The XDP code: 1 drop, 2 pass.
    pub code: u32,
    /// Mean time of one run.
    pub each: Duration,
}

impl Kernel {
    /// Runs an XDP program of the object `repeat` times on one frame; loads it first, where it is not.
    ///
    /// # Errors
    /// [`KernelError`] when the program cannot be loaded, or the frame is too short or long for the kernel
    /// (14 to about 3,500 bytes).
    pub fn test_run(&mut self, program: &str, frame: &[u8], repeat: u32) -> Result<Answer, KernelError> {
        let xdp = xdp(&mut self.ebpf, program)?;
        if xdp.fd().is_err() {
            xdp.load().map_err(|error| KernelError::program(program, error))?;
        }
        let options = TestRunOptions {
            data_in: Some(frame),
            repeat,
            ..TestRunOptions::default()
        };
        let result = xdp
            .test_run(options)
            .map_err(|error| KernelError::program(program, error))?;
        Ok(Answer {
            code: result.return_value,
            each: result.duration,
        })
    }

    /// As [`Kernel::test_run`], of a program that is loaded: several threads may run one at a time.
    ///
    /// # Errors
    /// [`KernelError`] when the program is not loaded, or as there.
    pub fn test_rerun(&self, program: &str, frame: &[u8], repeat: u32) -> Result<Answer, KernelError> {
        let missing = || KernelError::Object {
            what: format!("{program} is missing"),
        };
        let xdp: &Xdp = self
            .ebpf
            .program(program)
            .and_then(|program| program.try_into().ok())
            .ok_or_else(missing)?;
        let options = TestRunOptions {
            data_in: Some(frame),
            repeat,
            ..TestRunOptions::default()
        };
        let result = xdp
            .test_run(options)
            .map_err(|error| KernelError::program(program, error))?;
        Ok(Answer {
            code: result.return_value,
            each: result.duration,
        })
    }

    /// Runs an XDP program once on a frame: its code, and the frame as it left it.
    ///
    /// # Errors
    /// As [`Kernel::test_run`].
    pub fn test_rewrite(&mut self, program: &str, frame: &[u8]) -> Result<(u32, Vec<u8>), KernelError> {
        let failed = |error| KernelError::program(program, error);
        let xdp = xdp(&mut self.ebpf, program)?;
        if xdp.fd().is_err() {
            xdp.load().map_err(failed)?;
        }
        let mut left = vec![0; frame.len() + 256];
        let result = xdp
            .test_run(TestRunOptions {
                data_in: Some(frame),
                data_out: Some(&mut left),
                repeat: 1,
                ..TestRunOptions::default()
            })
            .map_err(failed)?;
        left.truncate(result.data_size_out as usize);
        Ok((result.return_value, left))
    }

    /// Runs the egress program once on a frame, as on one that leaves by the loopback interface of this namespace;
    /// returns its tc code and the frame as it left it.
    ///
    /// # Errors
    /// As [`Kernel::test_run`].
    pub fn test_egress(&mut self, frame: &[u8]) -> Result<(i32, Vec<u8>), KernelError> {
        let failed = |error| KernelError::program(PROG_EGRESS, error);
        let egress = classifier(&mut self.ebpf, PROG_EGRESS)?;
        if egress.fd().is_err() {
            egress.load().map_err(failed)?;
        }
        let mut out = vec![0; frame.len()];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ..TestRunOptions::default()
        };
        let code = egress.test_run(options).map_err(failed)?.return_value;
        Ok((code.cast_signed(), out))
    }

    /// Instructions the verifier walked to accept a program, which is loaded first, where it is not; `None` before
    /// Linux 5.16, which does not tell. Its limit is a million.
    ///
    /// # Errors
    /// [`KernelError`] when the program cannot be loaded.
    pub fn verifier_cost(&mut self, program: &str) -> Result<Option<u32>, KernelError> {
        let failed = |error| KernelError::program(program, error);
        let info = if [PROG_EGRESS, PROG_INGRESS, PROG_RESTORE].contains(&program) {
            let egress = classifier(&mut self.ebpf, program)?;
            if egress.fd().is_err() {
                egress.load().map_err(failed)?;
            }
            egress.info()
        } else {
            let xdp = xdp(&mut self.ebpf, program)?;
            if xdp.fd().is_err() {
                xdp.load().map_err(failed)?;
            }
            xdp.info()
        };
        Ok(info.map_err(failed)?.verified_instruction_count())
    }

    /// Lets every conversation with the honeypot be quiet since the clock began.
    ///
    /// # Errors
    /// [`KernelError::Map`].
    pub fn test_age_redirects(&mut self) -> Result<(), KernelError> {
        let failed = |error| KernelError::map(MAP_REDIRECTS, &error);
        let map = self.ebpf.map_mut(MAP_REDIRECTS).ok_or_else(|| KernelError::Object {
            what: format!("map {MAP_REDIRECTS} is missing"),
        })?;
        let mut map: HashMap<_, RedirectKey, Redirected> = map.try_into().map_err(failed)?;
        let all: Vec<_> = map.iter().collect::<Result<_, _>>().map_err(failed)?;
        for (key, held) in all {
            map.insert(key, Redirected { seen_ns: 0, ..held }, 0).map_err(failed)?;
        }
        Ok(())
    }

    /// Every flow in the map. For maps of test size: it is one bounded read.
    ///
    /// # Errors
    /// [`KernelError::System`].
    pub fn test_flows(&self) -> Result<Vec<(FlowKey, FlowValue)>, KernelError> {
        let failed = |source| KernelError::System {
            call: "reading the flow map".into(),
            source,
        };
        let limit = self.config.flow_capacity as usize + 1;
        lookup_batch(self.flows.fd().as_fd(), &mut BatchCursor::default(), limit).map_err(failed)
    }

    /// Forgets every flow.
    ///
    /// # Errors
    /// As [`Kernel::test_flows`].
    pub fn test_forget(&self) -> Result<(), KernelError> {
        for (key, _) in self.test_flows()? {
            let _ = delete(self.flows.fd().as_fd(), &key);
        }
        Ok(())
    }

    /// The counters a test run moves: those of the first slot.
    ///
    /// # Errors
    /// [`KernelError::Map`].
    pub fn test_counters(&self) -> Result<[u64; COUNTERS], KernelError> {
        self.counters().slot(0)
    }

    /// Cells of the hints in which each bit is set: allow, entry, list, list prefix.
    pub fn test_hinted(&self) -> [u64; 4] {
        self.shared.hinted()
    }

    /// Whether flows are accounted from the next packet on: what they cost is measured apart.
    ///
    /// # Errors
    /// [`KernelError::Map`].
    pub fn test_account(&self, on: bool) -> Result<(), KernelError> {
        self.change(|settings| {
            settings.flags = if on {
                settings.flags | SETTING_FLOWS
            } else {
                settings.flags & !SETTING_FLOWS
            };
        })
    }
}
