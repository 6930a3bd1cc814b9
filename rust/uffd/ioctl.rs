// SPDX-License-Identifier: GPL-2.0-only

//! The ioctls: words in, one call, words out.
//!
//! Each struct of the ABI is a few `u64` words. Where the last one is the answer it is not read: a
//! struct that ends where mapped memory ends works up to the answer.

use core::mem::size_of;

use kernel::{
    mm::MmWithUser,
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};

use super::{
    context::{
        offer,
        Context, //
    },
    fill::{
        fill,
        Content, //
    },
    moving,
    protect,
    register, //
};
use crate::{
    abstractions::{
        abi,
        mappings::HasMappings,
        mm,
        observer,
        slab::SlabRef,
        task,
        trace::{
            self,
            Watched, //
        },
        uaccess::put_word,
        vma::ContextPtr, //
    },
    pure::{
        abi::{
            Features,
            Ioctls, //
        },
        errno::Errno,
        features::{
            negotiate,
            Toggle, //
        },
        fill::{
            FillKind,
            FillMode,
            Report,
            Stop, //
        },
        observe::Again,
        protect::{
            Protection,
            Request, //
        },
        range::Range,
        register::parse_modes, //
    },
};

type Words<const N: usize> = [u64; N];

/// The caller's struct.
#[derive(Clone, Copy)]
struct User(usize);

impl User {
    /// The first `N` words. `EFAULT`.
    fn read<const N: usize>(self) -> Result<Words<N>> {
        UserSlice::new(UserPtr::from_addr(self.0), size_of::<Words<N>>())
            .reader()
            .read()
    }

    /// Writes the first `N` words. `EFAULT`.
    fn write<const N: usize>(self, words: &Words<N>) -> Result {
        UserSlice::new(UserPtr::from_addr(self.0), size_of::<Words<N>>())
            .writer()
            .write(words)
    }

    /// Writes word `index`, the answer. `EFAULT`.
    fn answer(self, index: usize, word: u64) -> Result {
        let at = self.0.wrapping_add(index * size_of::<u64>());
        put_word(UserPtr::from_addr(at), word)
    }
}

/// Runs the ioctl `cmd`. `EINVAL` for an unknown one, and for all but `UFFDIO_API` before that.
///
/// Replaces `userfaultfd_ioctl`.
// The one caller is the operation of the file.
#[inline(always)]
pub(super) fn dispatch(context: &SlabRef<Context>, cmd: u32, arg: usize) -> Result {
    let user = User(arg);
    if cmd == abi::API {
        return api(context, user);
    }
    if !context.features().is_initialized() {
        return Err(EINVAL);
    }
    match cmd {
        abi::REGISTER => register(context, user),
        abi::UNREGISTER => unregister(context, user),
        abi::WAKE => wake(context, user),
        abi::COPY => copy(context, user),
        abi::ZEROPAGE => fill_range(context, user, FillKind::Zeropage, Content::Zero),
        abi::CONTINUE => fill_range(context, user, FillKind::Continue, Content::Cached),
        abi::POISON => fill_range(context, user, FillKind::Poison, Content::Poison),
        abi::WRITEPROTECT => writeprotect(context, user),
        abi::RWPROTECT => rwprotect(context, user),
        abi::SET_MODE => set_mode(context, user),
        abi::MOVE => move_(context, user),
        _ => Err(EINVAL),
    }
}

/// Agrees on the features, once.
///
/// # Errors
///
/// `EFAULT`, those of [`negotiate`], `EINVAL` when it was agreed before. All but a failed copy
/// leave zeroes in the caller's struct. Replaces `userfaultfd_api`.
fn api(context: &Context, user: User) -> Result {
    let [api, features, _] = user.read::<3>()?;
    let requested = Features::from_bits(features);
    let agreed = match negotiate(api, requested, &offer(), task::capable_ptrace) {
        Ok(agreement) => {
            user.write(&agreement.answer)?;
            context.agree(agreement.context)
        }
        Err(error) => Err(error.into()),
    };
    if agreed.is_err() {
        user.write(&[0; 3])?;
    }
    agreed
}

/// Replaces `userfaultfd_register`, its copying.
fn register(context: &SlabRef<Context>, user: User) -> Result {
    const ANSWER: usize = 3;
    let words = user.read::<ANSWER>()?;
    let registered = try_register(context, words);
    trace::register(context.observer(), &words, &registered);
    user.answer(ANSWER, registered?.bits())
}

#[inline(always)]
fn try_register(context: &SlabRef<Context>, words: Words<3>) -> Result<Ioctls> {
    let [start, len, mode] = words;
    let modes = parse_modes(mode, &offer(), context.features())?;
    let range = Range::aligned(start, len, &context.limits())?;
    register::register(context, range, modes)
}

fn aligned_range(context: &Context, words: Words<2>) -> Result<Range> {
    let [start, len] = words;
    Range::aligned(start, len, &context.limits()).map_err(Error::from)
}

/// Replaces `userfaultfd_unregister`, its copying.
fn unregister(context: &SlabRef<Context>, user: User) -> Result {
    let words = user.read()?;
    let unregistered =
        aligned_range(context, words).and_then(|range| register::unregister(context, range));
    trace::unregister(context.observer(), &words, &unregistered);
    unregistered
}

/// Replaces `userfaultfd_wake`.
fn wake(context: &Context, user: User) -> Result {
    context.wake(aligned_range(context, user.read()?)?);
    Ok(())
}

/// Shows what came of a request to those who watch: bytes that were done, or `-errno`, and why to
/// try again.
#[inline(always)]
fn show(context: &Context, request: &Watched, result: i64, again: impl FnOnce() -> Option<Again>) {
    if observer::is_watched() {
        context.sleepers.begin_counts();
        context.observer().resolved(request, result, again());
    }
}

/// The error of a request of which nothing was done.
#[cold]
fn refused(context: &Context, request: Watched, stop: Stop) -> Error {
    let error = stop.errno();
    show(context, &request, i64::from(error.negative()), || {
        stop.again()
    });
    error.into()
}

/// The aligned range that a request is about. `EINVAL`.
#[inline(always)]
fn requested_range(context: &Context, request: Watched) -> Result<Range> {
    Range::aligned(request.start, request.len, &context.limits())
        .map_err(|error| refused(context, request, error.into()))
}

/// Replaces `userfaultfd_writeprotect`.
fn writeprotect(context: &Context, user: User) -> Result {
    protect(context, user, Protection::Write)
}

/// Replaces `userfaultfd_rwprotect`.
fn rwprotect(context: &Context, user: User) -> Result {
    protect(context, user, Protection::ReadWrite)
}

/// `EAGAIN`, before anything else, if mappings are changing.
// Inlined, the protection is a constant.
#[inline(always)]
fn protect(context: &Context, user: User, protection: Protection) -> Result {
    if context.mappings().are_changing() {
        let unread = Watched::unread(protection.into());
        return Err(refused(context, unread, Stop::Changing));
    }
    let watched = Watched::new(protection.into(), user.read()?);
    let refused = |stop| refused(context, watched, stop);
    let range = requested_range(context, watched)?;
    let request =
        Request::parse(protection, watched.mode).map_err(|error| refused(error.into()))?;
    protect::change(context, &range, request.change).map_err(refused)?;
    show(context, &watched, watched.len as i64, || None);
    if request.wake {
        context.wake(range);
    }
    Ok(())
}

/// Replaces `userfaultfd_set_mode`, its copying and its checks.
fn set_mode(context: &SlabRef<Context>, user: User) -> Result {
    let [enable, disable] = user.read::<2>()?.map(Features::from_bits);
    let toggle = Toggle::check(enable, disable, &offer(), context.features())?;
    protect::set_mode(context, toggle)
}

/// Replaces `userfaultfd_copy`.
fn copy(context: &Context, user: User) -> Result {
    const ANSWER: usize = 4;
    let kind = FillKind::Copy;
    refuse_if_changing(context, user, ANSWER, kind)?;
    let [dst, src, len, mode] = user.read::<ANSWER>()?;
    let request = Watched::new(kind.into(), [dst, len, mode]);
    let source = Range::unaligned(src, len, &context.limits())
        .map_err(|error| refused(context, request, error.into()))?;
    let range = requested_range(context, request)?;
    let content = Content::Copied(UserPtr::from_addr(source.start()));
    conclude_fill(context, user, ANSWER, kind, request, |mm, mode| {
        fill(context, mm, content, range, mode)
    })
}

/// Replaces `userfaultfd_zeropage`, `userfaultfd_continue`, `userfaultfd_poison`, whose structs are
/// alike.
// Inlined, kind and content are constants, in the loop over the pages too.
#[inline(always)]
fn fill_range(context: &Context, user: User, kind: FillKind, content: Content) -> Result {
    const ANSWER: usize = 3;
    refuse_if_changing(context, user, ANSWER, kind)?;
    let request = Watched::new(kind.into(), user.read::<ANSWER>()?);
    let range = requested_range(context, request)?;
    conclude_fill(context, user, ANSWER, kind, request, |mm, mode| {
        fill(context, mm, content, range, mode)
    })
}

/// Moves pages within the caller's own address space. Replaces `userfaultfd_move`.
///
/// # Errors
///
/// Those of [`refuse_if_changing`]; `EINVAL` for the ranges and for the context of another process;
/// then those of [`conclude_fill`].
fn move_(context: &SlabRef<Context>, user: User) -> Result {
    const ANSWER: usize = 4;
    let kind = FillKind::Move;
    refuse_if_changing(context, user, ANSWER, kind)?;
    let [dst, src, len, mode] = user.read::<ANSWER>()?;
    let request = Watched::new(kind.into(), [dst, len, mode]);
    let refused = |error: Errno| refused(context, request, error.into());
    if !mm::is_own(context.mm()) {
        return Err(refused(Errno::EINVAL));
    }
    let range = requested_range(context, request)?;
    let source = Range::aligned(src, len, &context.limits()).map_err(refused)?;
    let asker = ContextPtr::of(context);
    conclude_fill(context, user, ANSWER, kind, request, |mm, mode| {
        moving::move_pages(
            mm,
            context.mappings(),
            asker,
            source,
            range,
            mode.allow_src_holes,
        )
    })
}

/// The first look of all fills, before their struct is read: while mappings are changing they are
/// refused, and the answer in word `answer` says so. The fill looks again, with its lock held.
///
/// # Errors
///
/// `EFAULT` if the answer cannot be written, else `EAGAIN`.
#[inline(always)]
fn refuse_if_changing(context: &Context, user: User, answer: usize, kind: FillKind) -> Result {
    if !context.mappings().are_changing() {
        return Ok(());
    }
    let report = Report::mappings_changing();
    let unread = Watched::unread(kind.into());
    show(context, &unread, report.field, || report.again());
    let stored = user.answer(answer, report.field as u64).is_ok();
    report.conclude(stored, false).1.map_err(Error::from)
}

/// What all fills share: the mode, the address space, the answer in word `answer`, the wake-up.
///
/// # Errors
///
/// `EINVAL` for the mode; `ESRCH` when the process is gone, which leaves the answer alone; those of
/// [`Report::conclude`].
#[inline(always)]
fn conclude_fill(
    context: &Context,
    user: User,
    answer: usize,
    kind: FillKind,
    request: Watched,
    fill: impl FnOnce(&MmWithUser, FillMode) -> Report,
) -> Result {
    let refused = |error: Errno| refused(context, request, error.into());
    let mode = kind.parse_mode(request.mode).map_err(refused)?;
    let report = {
        let mm = context.mm().mmget_not_zero();
        let mm = mm.ok_or_else(|| refused(Errno::ESRCH))?;
        fill(&mm, mode)
    };
    show(context, &request, report.field, || report.again());
    let stored = user.answer(answer, report.field as u64).is_ok();
    let (woken, result) = report.conclude(stored, mode.wake);
    if let Some(range) = woken {
        context.wake(range);
    }
    result.map_err(Error::from)
}
