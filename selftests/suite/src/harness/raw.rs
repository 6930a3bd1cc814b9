// SPDX-License-Identifier: GPL-2.0-only

//! Requests with any argument at any place, to try what a well-behaved program never does.

use super::mem::{Mapping, PAGE};
use uffd::{Errno, Uffd};

/// Bytes of a word; every field of every argument is one.
pub const WORD: u64 = 8;
/// What a result field holds before a request that must not write it.
pub const UNTOUCHED: u64 = 0x5e5e_5e5e_5e5e_5e5e;

/// A page to put arguments in, with one before and one behind that cannot be accessed.
#[derive(Debug)]
pub struct Argument(Mapping);

impl Argument {
    /// Makes one.
    #[track_caller]
    pub fn new() -> Argument {
        let mapping = Mapping::anon(3);
        for hole in [0, 2] {
            mapping
                .protect(hole * PAGE, PAGE, libc::PROT_NONE)
                .expect("mprotect");
        }
        Argument(mapping)
    }

    /// Makes a request with these words as its argument, and returns what became of them.
    pub fn call(&self, uffd: &Uffd, request: u64, words: &[u64]) -> (Result<i32, Errno>, Vec<u64>) {
        self.put(PAGE, words);
        let result = self.at(uffd, request, PAGE);
        (
            result,
            (0..words.len() as u64)
                .map(|index| self.word(PAGE + index * WORD))
                .collect(),
        )
    }

    /// The same with all but the first `readable` words beyond the accessible page.
    pub fn call_cut_behind(
        &self,
        uffd: &Uffd,
        request: u64,
        words: &[u64],
        readable: u64,
    ) -> Result<i32, Errno> {
        let offset = 2 * PAGE - readable * WORD;
        self.put(offset, &words[..readable as usize]);
        self.at(uffd, request, offset)
    }

    /// The same with only the last word, which is returned, in the accessible page.
    pub fn call_cut_before(
        &self,
        uffd: &Uffd,
        request: u64,
        words: usize,
    ) -> (Result<i32, Errno>, u64) {
        self.put(PAGE, &[UNTOUCHED]);
        let result = self.at(uffd, request, PAGE - (words as u64 - 1) * WORD);
        (result, self.word(PAGE))
    }

    fn at(&self, uffd: &Uffd, request: u64, offset: u64) -> Result<i32, Errno> {
        // SAFETY: what the kernel can access of the argument lies in the mapping, which no
        // reference points into. The ranges in it are mappings of the test, treated likewise.
        unsafe { uffd.ioctl(request, (self.0.start() + offset) as usize) }
    }

    fn put(&self, offset: u64, words: &[u64]) {
        words.iter().zip(0..).for_each(|(word, index)| {
            self.0
                .write_bytes(offset + index * WORD, &word.to_le_bytes())
        });
    }

    fn word(&self, offset: u64) -> u64 {
        let bytes = self.0.read_bytes(offset, WORD);
        u64::from_le_bytes(bytes.try_into().expect("a word"))
    }
}
