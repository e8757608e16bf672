//! Frames at random: built from the parts a stack knows, real ones, real ones altered, and noise.

use crate::frames::{Rng, tcp, udp};
use std::path::{Path, PathBuf};

/// The kernel's test run takes frames of at least an Ethernet header, and of one page less its headroom at most.
const SHORTEST: usize = 14;
const LONGEST: usize = 3000;
/// Real frames kept.
const REAL: usize = 50_000;

/// A source of frames, all of whose choices follow from one seed.
pub(crate) struct Generator {
    pub(crate) rng: Rng,
    real: Vec<Vec<u8>>,
}

impl Generator {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            rng: Rng(seed | 1),
            real: captures().iter().flat_map(|path| frames_of(path)).take(REAL).collect(),
        }
    }

    /// Real frames it knows.
    pub(crate) fn known(&self) -> usize {
        self.real.len()
    }

    pub(crate) fn frame(&mut self) -> Vec<u8> {
        let choice = self.rng.below(20);
        let mut frame = match choice {
            0..=2 if !self.real.is_empty() => self.one_real(),
            3..=6 if !self.real.is_empty() => {
                let mut frame = self.one_real();
                self.alter(&mut frame);
                frame
            }
            7 => {
                let len = SHORTEST + self.rng.below(120);
                self.rng.bytes(len)
            }
            _ => self.structured(),
        };
        if choice > 6 && self.rng.one_in(4) {
            self.alter(&mut frame);
        }
        frame.truncate(LONGEST);
        frame.resize(frame.len().max(SHORTEST), 0);
        frame
    }

    fn one_real(&mut self) -> Vec<u8> {
        let at = self.rng.below(self.real.len());
        self.real[at].clone()
    }

    /// Bits, bytes and words changed, cut short, lengthened, spliced.
    fn alter(&mut self, frame: &mut Vec<u8>) {
        for _ in 0..=self.rng.below(3) {
            // Most of what matters stands in front.
            let reach = if self.rng.one_in(3) {
                frame.len()
            } else {
                frame.len().min(74)
            };
            let at = self.rng.below(reach.max(1)).min(frame.len().saturating_sub(1));
            match self.rng.below(8) {
                0 => frame[at] ^= 1 << self.rng.below(8),
                1 => frame[at] = self.rng.next() as u8,
                2 => frame[at] = self.rng.pick(&[0, 1, 4, 5, 6, 17, 44, 51, 58, 60, 127, 128, 255]),
                3 => frame.truncate((at + 1).max(SHORTEST)),
                4 => {
                    let more = self.rng.below(40);
                    let more = self.rng.bytes(more);
                    frame.extend(more);
                }
                5 => {
                    let word = self
                        .rng
                        .pick(&[0x0800u16, 0x86dd, 0x8100, 0x88a8, 0x9100, 0xffff, 0x4500, 0x6000]);
                    let at = at & !1;
                    if let Some(place) = frame.get_mut(at..at + 2) {
                        place.copy_from_slice(&word.to_be_bytes());
                    }
                }
                6 => {
                    let more = self.rng.bytes(4);
                    frame.splice(at..at, more);
                }
                _ => {
                    let end = (at + 1 + self.rng.below(8)).min(frame.len());
                    if frame.len() - (end - at) >= SHORTEST {
                        frame.drain(at..end);
                    }
                }
            }
        }
    }

    fn structured(&mut self) -> Vec<u8> {
        let mut out = self.rng.bytes(12);
        for _ in 0..self.rng.pick(&[0, 0, 0, 0, 1, 1, 2, 3, 4]) {
            out.extend(self.rng.pick(&[0x8100u16, 0x88a8, 0x9100]).to_be_bytes());
            out.extend(self.rng.bytes(2));
        }
        match self.rng.below(24) {
            0 => {
                let kind = self
                    .rng
                    .pick(&[0x0806u16, 0x8847, 0x8864, 0x88cc, 0x88e5, 0x0000, 0x05dc, 0xffff]);
                out.extend(kind.to_be_bytes());
                let rest = self.rng.below(60);
                out.extend(self.rng.bytes(rest));
            }
            1..=12 => {
                out.extend(0x0800u16.to_be_bytes());
                self.v4(&mut out);
            }
            _ => {
                out.extend(0x86ddu16.to_be_bytes());
                self.v6(&mut out);
            }
        }
        if self.rng.one_in(8) {
            let keep = SHORTEST + self.rng.below(out.len() - SHORTEST + 1);
            out.truncate(keep);
        }
        if self.rng.one_in(6) {
            // Padding, which is no part of the packet.
            let more = self.rng.below(30);
            out.extend(self.rng.bytes(more));
        }
        out
    }

    fn v4(&mut self, out: &mut Vec<u8>) {
        let words = self.rng.pick(&[5, 5, 5, 5, 5, 6, 10, 15, 4, 0]);
        let proto = self
            .rng
            .pick(&[1, 6, 6, 6, 6, 17, 17, 17, 2, 47, 50, 51, 58, 0, 4, 41, 44]);
        let l4 = self.l4(proto);
        let options = self.rng.bytes(usize::from(words).saturating_sub(5) * 4);
        let total = match self.rng.below(12) {
            0 => self.rng.next() as u16,
            1 => (words * 4).into(),
            _ => (20 + options.len() + l4.len()) as u16,
        };
        out.extend([0x40 | words, 0]);
        out.extend(total.to_be_bytes());
        out.extend(self.rng.bytes(2));
        let fragment = self.rng.pick(&[
            0u16, 0, 0, 0, 0x4000, 0x4000, 0x2000, 0x2001, 0x0100, 0x1fff, 0x8000, 0x3fff,
        ]);
        out.extend(fragment.to_be_bytes());
        out.extend([64, proto, 0, 0]);
        out.extend(self.source4());
        out.extend([10, 9, 0, 1]);
        out.extend(options);
        out.extend(l4);
    }

    fn v6(&mut self, out: &mut Vec<u8>) {
        let mut chain = Vec::new();
        for _ in 0..self.rng.pick(&[0, 0, 0, 0, 1, 1, 2, 3, 7, 8, 9, 12]) {
            chain.push(self.rng.pick(&[0u8, 43, 44, 51, 60, 135, 139, 140]));
        }
        let proto = self.rng.pick(&[6, 6, 6, 17, 17, 58, 58, 59, 4, 50, 132]);
        chain.push(proto);
        let mut payload = Vec::new();
        for pair in chain.windows(2) {
            let (kind, next) = (pair[0], pair[1]);
            if kind == 44 {
                payload.extend([next, 0]);
                payload.extend(self.rng.pick(&[0u16, 0, 1, 8, 9, 0xfff8, 6, 0xfff9]).to_be_bytes());
                payload.extend(self.rng.bytes(4));
                continue;
            }
            let units = self.rng.pick(&[0u8, 0, 0, 1, 2, 30]);
            let len = if kind == 51 {
                (usize::from(units) + 2) * 4
            } else {
                (usize::from(units) + 1) * 8
            };
            let said = if self.rng.one_in(20) {
                self.rng.next() as u8
            } else {
                units
            };
            payload.extend([next, said]);
            payload.extend(self.rng.bytes(len - 2));
        }
        payload.extend(self.l4(proto));
        let len = match self.rng.below(12) {
            0 => self.rng.next() as u16,
            1 => 0,
            _ => payload.len() as u16,
        };
        out.extend([0x60, 0, 0, 0]);
        out.extend(len.to_be_bytes());
        out.extend([chain[0], 64]);
        let source = self.source6();
        out.extend(source);
        let mut local = [0; 16];
        local[..2].copy_from_slice(&[0xfd, 9]);
        local[15] = 1;
        out.extend(if self.rng.one_in(60) {
            mapped([10, 9, 0, 1])
        } else {
            local
        });
        out.extend(payload);
    }

    fn l4(&mut self, proto: u8) -> Vec<u8> {
        let mut l4 = match proto {
            6 => {
                let flags = self
                    .rng
                    .pick(&[0u8, 1, 2, 4, 0x10, 0x12, 0x14, 0x18, 0x11, 0x29, 0xc2, 0xff]);
                let mut out = tcp(1 + self.rng.below(4) as u16, self.rng.pick(&[22, 80, 443]), flags, &[]);
                out[4..12].copy_from_slice(&self.rng.next().to_be_bytes());
                out[12] = self.rng.pick(&[0x50, 0x50, 0x80, 0xa0, 0xf0, 0x40, 0x00]);
                out
            }
            17 => {
                let mut out = udp(1 + self.rng.below(4) as u16, self.rng.pick(&[53, 123, 443]), &[]);
                if self.rng.one_in(8) {
                    out[4..6].copy_from_slice(&(self.rng.next() as u16).to_be_bytes());
                }
                out
            }
            1 | 58 => {
                let mut out = self.rng.bytes(8);
                out[0] = self.rng.pick(&[0, 3, 8, 11, 13, 128, 129, 133, 134, 135, 136, 1, 2]);
                out
            }
            _ => self.rng.bytes(8),
        };
        let more = self.rng.pick(&[0, 0, 1, 5, 20, 200, 1400]);
        l4.extend(self.rng.bytes(more));
        if self.rng.one_in(12) {
            let keep = self.rng.below(l4.len() + 1);
            l4.truncate(keep);
        }
        l4
    }

    /// A source out of few, so that lists often meet it.
    pub(crate) fn source4(&mut self) -> [u8; 4] {
        [
            10,
            self.rng.below(3) as u8,
            self.rng.below(4) as u8,
            self.rng.below(8) as u8,
        ]
    }

    pub(crate) fn source6(&mut self) -> [u8; 16] {
        if self.rng.one_in(40) {
            return mapped(self.source4());
        }
        let mut out = [0; 16];
        out[0] = 0xfd;
        out[5] = self.rng.below(3) as u8;
        out[7] = self.rng.below(4) as u8;
        out[15] = self.rng.below(8) as u8;
        // Now and then what only looks mapped.
        if self.rng.one_in(40) {
            out = mapped([10, 0, 0, 1]);
            out[self.rng.below(12)] ^= 1 << self.rng.below(8);
        }
        out
    }
}

const fn mapped([a, b, c, d]: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

/// Captures of the repository, and those of the folder that `SENTINEL_CAPTURES` names.
fn captures() -> Vec<PathBuf> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures")];
    folders.extend(std::env::var_os("SENTINEL_CAPTURES").map(PathBuf::from));
    let mut files: Vec<PathBuf> = folders
        .iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ext| ext == "pcap" || ext == "pcapng"))
        .collect();
    files.sort();
    files
}

fn frames_of(path: &Path) -> Vec<Vec<u8>> {
    let Ok(mut capture) = sentinel::sensor::pcap::Capture::open(path) else {
        return Vec::new();
    };
    let mut frames = Vec::new();
    while let Some(Ok(frame)) = capture.next() {
        frames.push(frame.bytes.to_vec());
        if frames.len() == REAL / 5 {
            break;
        }
    }
    frames
}
