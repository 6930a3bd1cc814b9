// SPDX-License-Identifier: GPL-2.0-only

//! `/sys/kernel/debug/userfaultfd`: what contexts have seen, and how long it took.
//!
//! | file | what |
//! |---|---|
//! | `statistics` | a switch, 0 or 1: whether there is counting |
//! | `contexts` | counts, one line per context that is counted |
//! | `latency` | times by powers of two of nanoseconds, two lines per context |

use core::convert::Infallible;

use kernel::{
    debugfs::{
        Dir,
        File, //
    },
    fmt::{
        self,
        Formatter,
        Write, //
    },
    prelude::*,
    uaccess::UserSliceReader, //
};

use crate::{
    abstractions::statistics::{
        self,
        Counts,
        Histogram,
        Record, //
    },
    pure::observe::Kind,
};

/// Makes the files, at boot. Without them everything works. `ENOMEM`.
pub(super) fn create_files() -> Result {
    let folder = Dir::new(c"userfaultfd");
    let contexts = folder.read_callback_file::<(), Infallible, _>(c"contexts", (), &show_contexts);
    keep(KBox::pin_init(contexts, GFP_KERNEL)?);
    let latency = folder.read_callback_file::<(), Infallible, _>(c"latency", (), &show_latency);
    keep(KBox::pin_init(latency, GFP_KERNEL)?);
    let switch = folder.read_write_callback_file::<(), Infallible, _, _>(
        c"statistics",
        (),
        &show_switch,
        &switch,
    );
    keep(KBox::pin_init(switch, GFP_KERNEL)?);
    core::mem::forget(folder);
    Ok(())
}

/// There is no way to take the files away.
fn keep(file: Pin<KBox<File<()>>>) {
    core::mem::forget(file);
}

/// Shows all records, until one cannot be shown.
fn show_all(
    out: &mut Formatter<'_>,
    show: impl Fn(&Record, &mut Formatter<'_>) -> fmt::Result,
) -> fmt::Result {
    let mut result = Ok(());
    statistics::for_each(|record| {
        if result.is_ok() {
            result = show(record, out);
        }
    });
    result
}

fn show_contexts(_: &(), out: &mut Formatter<'_>) -> fmt::Result {
    show_all(out, |record, out| {
        let (now, most) = record.sleepers();
        let ctx = record.ctx.number();
        write!(out, "ctx={ctx} sleepers={now} most={most}")?;
        show_counts(out, &record.queued)?;
        let (read, unread) = record.read();
        write!(
            out,
            " refused={} read={read} unread={unread}",
            record.refused()
        )?;
        show_counts(out, &record.ended)?;
        write!(out, " wakes={}", record.wakes())?;
        show_counts(out, &record.resolved)?;
        show_counts(out, &record.again)?;
        out.write_char('\n')
    })
}

fn show_counts<K: Kind, const N: usize>(
    out: &mut Formatter<'_>,
    counts: &Counts<K, N>,
) -> fmt::Result {
    for (name, count) in counts.named() {
        write!(out, " {name}={count}")?;
    }
    Ok(())
}

fn show_latency(_: &(), out: &mut Formatter<'_>) -> fmt::Result {
    show_all(out, |record, out| {
        let ctx = record.ctx.number();
        show_histogram(out, ctx, "queued_read", &record.to_read)?;
        show_histogram(out, ctx, "read_woken", &record.to_wake)
    })
}

fn show_histogram(
    out: &mut Formatter<'_>,
    ctx: u64,
    what: &str,
    histogram: &Histogram,
) -> fmt::Result {
    write!(out, "ctx={ctx} what={what}")?;
    for (shortest, count) in histogram.buckets() {
        write!(out, " {shortest}={count}")?;
    }
    out.write_char('\n')
}

fn show_switch(_: &(), out: &mut Formatter<'_>) -> fmt::Result {
    writeln!(out, "{}", u8::from(statistics::are_on()))
}

/// `EINVAL` for anything but 0 and 1, which may end a line. `EFAULT`.
fn switch(_: &(), reader: &mut UserSliceReader) -> Result {
    let mut text = [0_u8; 2];
    let text = text.get_mut(..reader.len()).ok_or(EINVAL)?;
    reader.read_slice(text)?;
    match text {
        [b'0'] | [b'0', b'\n'] => statistics::switch(false),
        [b'1'] | [b'1', b'\n'] => statistics::switch(true),
        _ => return Err(EINVAL),
    }
    Ok(())
}
