//! Runs the loaded programs on frames without a network, for tests and the benchmark (`BPF_PROG_TEST_RUN`).

use super::Kernel;
use super::error::KernelError;
use super::load::{classifier, xdp};
use crate::types::Ktime;
use aya::maps::{HashMap, PerCpuArray};
use aya::programs::{TestRun, TestRunOptions, Xdp, XdpMode};
use sentinel_common::addr::Addr;
use sentinel_common::exact::Place;
use sentinel_common::flow::{Direction, FlowKey, FlowValue};
use sentinel_common::hash::{hash, place};
use sentinel_common::names::{MAP_REDIRECTS, MAP_SCRATCH, PROG_EGRESS, PROG_FLOOR_PASS, PROG_INGRESS, PROG_RESTORE};
use sentinel_common::packet::PacketMeta;
use sentinel_common::redirect::{RedirectKey, Redirected};
use sentinel_common::settings::{SETTING_FLOWS, SETTING_SHORT};
use sentinel_common::slot::{HEAD_TOLD, Head, Slot};
use sentinel_common::stat::COUNTERS;
use std::collections::BTreeMap;
use std::mem::offset_of;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
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
    pub fn test_flows(&self, now: Ktime) -> Result<Vec<(FlowKey, FlowValue)>, KernelError> {
        let mut flows = BTreeMap::<FlowKey, FlowValue>::new();
        for (head, slot) in self.test_slots()? {
            let flow = flows.entry(slot.key()).or_default();
            let state = u32::from(head.state & HEAD_TOLD);
            flow.absorb(slot.direction(), &slot.half(&head, now.0), state);
        }
        Ok(flows.into_iter().collect())
    }

    /// Where a packet's flow is kept: its bucket, in the part of whichever CPU sees it, and its tag there. The hash has
    /// a secret seed, and four flows to a bucket find room: a test that counts flows exactly has to look where they go.
    ///
    /// # Errors
    /// [`KernelError::Map`].
    pub fn test_place(&self, packet: &PacketMeta, direction: Direction) -> Result<(u32, u32), KernelError> {
        let settings = self.settings()?;
        let (bucket, tag) = place(hash(&settings.keys, packet, direction), direction);
        Ok((bucket & settings.flow_mask, tag))
    }

    /// The two buckets of an exact address's entry.
    ///
    /// # Errors
    /// [`KernelError::Map`].
    pub fn test_buckets(&self, address: IpAddr) -> Result<[u32; 2], KernelError> {
        let settings = self.settings()?;
        let key = Addr::from(address);
        let (place, mask) = if key.is_v4() {
            (Place::v4(&settings.keys, key.tail()), settings.block4_mask)
        } else {
            (Place::v6(&settings.keys, key.halves()), settings.block6_mask)
        };
        Ok([place.one & mask, place.two & mask])
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
        self.switch(SETTING_FLOWS, on)
    }

    /// Whether plain packets take the short way ([`sentinel_common::plain`]); what comes of them is to be the same.
    ///
    /// # Errors
    /// [`KernelError::Map`] when the settings cannot be written.
    pub fn test_short(&self, on: bool) -> Result<(), KernelError> {
        self.switch(SETTING_SHORT, on)
    }

    /// A descriptor of an XDP program of the object, which is loaded first, where it is not: for callers that make
    /// their own calls of `BPF_PROG_TEST_RUN`, or put it into a program array.
    ///
    /// # Errors
    /// [`KernelError`] when the program cannot be loaded, or there are no more descriptors.
    pub fn test_program(&mut self, program: &str) -> Result<OwnedFd, KernelError> {
        let failed = |error| KernelError::program(program, error);
        let xdp = xdp(&mut self.ebpf, program)?;
        if xdp.fd().is_err() {
            xdp.load().map_err(failed)?;
        }
        let fd = xdp.fd().map_err(failed)?.as_fd();
        fd.try_clone_to_owned().map_err(|source| KernelError::System {
            call: "duplicating a descriptor".into(),
            source,
        })
    }

    /// What the ingress program read out of the latest frame that `cpu` gave it. Only where it parsed one is that of
    /// meaning; the caller stays on that CPU.
    ///
    /// # Errors
    /// [`KernelError`] when the map cannot be read or does not hold such records.
    pub fn test_meta(&self, cpu: usize) -> Result<PacketMeta, KernelError> {
        let wrong = |what: &str| KernelError::Object {
            what: format!("map {MAP_SCRATCH}: {what}"),
        };
        let map = self.ebpf.map(MAP_SCRATCH).ok_or_else(|| wrong("is missing"))?;
        let map: PerCpuArray<_, [u8; size_of::<PacketMeta>()]> =
            map.try_into().map_err(|error| KernelError::map(MAP_SCRATCH, &error))?;
        let records = map.get(&0, 0).map_err(|error| KernelError::map(MAP_SCRATCH, &error))?;
        let bytes = records.get(cpu).ok_or_else(|| wrong("has no such CPU"))?;
        let flags = [
            offset_of!(PacketMeta, fragment),
            offset_of!(PacketMeta, later_fragment),
            offset_of!(PacketMeta, too_deep),
        ];
        if flags.iter().any(|at| bytes[*at] > 1) {
            return Err(wrong("holds no parsed packet"));
        }
        // SAFETY: the record has the size and, both sides being `repr(C)`, the layout of the struct; its only members
        // that not every pattern of bits is good for are the flags above.
        Ok(unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast()) })
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
}

/// Why the flow table cannot be read whole.
fn busy() -> KernelError {
    KernelError::System {
        call: "reading the flow table".into(),
        source: std::io::ErrorKind::WouldBlock.into(),
    }
}
