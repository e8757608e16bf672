//! Runs the loaded programs on frames without a network, for tests and the benchmark (`BPF_PROG_TEST_RUN`).

use super::Kernel;
use super::error::KernelError;
use super::load::{classifier, xdp};
use aya::programs::{TestRun, TestRunOptions};
use sentinel_common::flow::{FlowKey, FlowValue};
use sentinel_common::names::PROG_EGRESS;
use sentinel_common::settings::SETTING_FLOWS;
use sentinel_common::slot::{HEAD_TOLD, Head, Slot};
use sentinel_common::stat::COUNTERS;
use std::collections::BTreeMap;
use std::time::Duration;

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

    /// Runs the egress program once on a frame, as if it went out on the loopback interface; loads it first, where it
    /// is not.
    ///
    /// # Errors
    /// As [`Kernel::test_run`].
    pub fn test_egress(&mut self, frame: &[u8]) -> Result<(), KernelError> {
        let failed = |error| KernelError::program(PROG_EGRESS, error);
        let egress = classifier(&mut self.ebpf, PROG_EGRESS)?;
        if egress.fd().is_err() {
            egress.load().map_err(failed)?;
        }
        let options = TestRunOptions {
            data_in: Some(frame),
            repeat: 1,
            ..TestRunOptions::default()
        };
        egress.test_run(options).map_err(failed)?;
        Ok(())
    }

    /// Instructions the verifier walked to accept a program, which is loaded first, where it is not; `None` before
    /// Linux 5.16, which does not tell. Its limit is a million.
    ///
    /// # Errors
    /// [`KernelError`] when the program cannot be loaded.
    pub fn verifier_cost(&mut self, program: &str) -> Result<Option<u32>, KernelError> {
        let failed = |error| KernelError::program(program, error);
        let info = if program == PROG_EGRESS {
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

    /// Every slot of the flow table in use: which flow, in which direction, what it counted since its last record, and
    /// its state.
    ///
    /// # Errors
    /// [`KernelError::System`] when packets pass meanwhile.
    pub fn test_slots(&self) -> Result<Vec<(Head, Slot)>, KernelError> {
        let read = |slot| {
            let head = self.flows.head(slot);
            (head.tag != 0).then(|| self.flows.slot(slot, &head).map(|found| (head, found)).ok_or_else(busy))
        };
        (0..self.flows.slots()).filter_map(read).collect()
    }

    /// Every flow in the table, and what of it is unreported.
    ///
    /// # Errors
    /// As [`Kernel::test_slots`].
    pub fn test_flows(&self) -> Result<Vec<(FlowKey, FlowValue)>, KernelError> {
        let mut flows = BTreeMap::<FlowKey, FlowValue>::new();
        for (head, slot) in self.test_slots()? {
            let flow = flows.entry(slot.key()).or_default();
            let state = u32::from(head.state & HEAD_TOLD);
            flow.absorb(slot.direction(), &slot.half(head.packets), state);
        }
        Ok(flows.into_iter().collect())
    }

    /// Forgets every flow.
    ///
    /// # Errors
    /// As [`Kernel::test_slots`].
    pub fn test_forget(&self) -> Result<(), KernelError> {
        self.flows.forget();
        if self.test_slots()?.is_empty() {
            Ok(())
        } else {
            Err(busy())
        }
    }

    /// Whether flows are accounted.
    ///
    /// # Errors
    /// [`KernelError::Map`] when the settings cannot be written.
    pub fn test_accounting(&self, on: bool) -> Result<(), KernelError> {
        self.change(|settings| {
            settings.flags = if on {
                settings.flags | SETTING_FLOWS
            } else {
                settings.flags & !SETTING_FLOWS
            };
        })
    }

    /// The counters a test run moves: those of the first slot.
    ///
    /// # Errors
    /// [`KernelError::Map`].
    pub fn test_counters(&self) -> Result<[u64; COUNTERS], KernelError> {
        self.counters().slot(0)
    }
}

/// Why the flow table cannot be read whole.
fn busy() -> KernelError {
    KernelError::System {
        call: "reading the flow table".into(),
        source: std::io::ErrorKind::WouldBlock.into(),
    }
}
