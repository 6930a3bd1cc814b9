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
    errno,
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
        slab::SlabRef,
        task,
        vma::ContextPtr, //
    },
    pure::{
        abi::Features,
        features::{
            negotiate,
            Toggle, //
        },
        fill::{
            FillKind,
            FillMode,
            Report, //
        },
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

    /// Writes `words` from word `index` on. `EFAULT`.
    fn write<const N: usize>(self, index: usize, words: &Words<N>) -> Result {
        let at = self.0.wrapping_add(index * size_of::<u64>());
        UserSlice::new(UserPtr::from_addr(at), size_of::<Words<N>>())
            .writer()
            .write(words)
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
        abi::WRITEPROTECT => protect(context, user, Protection::Write),
        abi::RWPROTECT => protect(context, user, Protection::ReadWrite),
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
            user.write(0, &agreement.answer)?;
            context.agree(agreement.context)
        }
        Err(error) => Err(errno(error)),
    };
    if agreed.is_err() {
        user.write(0, &[0; 3])?;
    }
    agreed
}

/// Replaces `userfaultfd_register`, its copying.
fn register(context: &SlabRef<Context>, user: User) -> Result {
    const ANSWER: usize = 3;
    let [start, len, mode] = user.read::<ANSWER>()?;
    let modes = parse_modes(mode, &offer(), context.features()).map_err(errno)?;
    let range = Range::aligned(start, len, &context.limits()).map_err(errno)?;
    let ioctls = register::register(context, range, modes)?;
    user.write(ANSWER, &[ioctls.bits()])
}

fn aligned_range(context: &Context, user: User) -> Result<Range> {
    let [start, len] = user.read::<2>()?;
    Range::aligned(start, len, &context.limits()).map_err(errno)
}

/// Replaces `userfaultfd_unregister`, its copying.
fn unregister(context: &SlabRef<Context>, user: User) -> Result {
    register::unregister(context, aligned_range(context, user)?)
}

/// Replaces `userfaultfd_wake`.
fn wake(context: &Context, user: User) -> Result {
    context.wake(aligned_range(context, user)?);
    Ok(())
}

/// `EAGAIN`, before anything else, if mappings are changing. Replaces `userfaultfd_writeprotect` and
/// `userfaultfd_rwprotect`.
fn protect(context: &Context, user: User, protection: Protection) -> Result {
    if context.mappings().are_changing() {
        return Err(EAGAIN);
    }
    let [start, len, mode] = user.read::<3>()?;
    let range = Range::aligned(start, len, &context.limits()).map_err(errno)?;
    let request = Request::parse(protection, mode).map_err(errno)?;
    protect::change(context, &range, request.change)?;
    if request.wake {
        context.wake(range);
    }
    Ok(())
}

/// Replaces `userfaultfd_set_mode`, its copying and its checks.
fn set_mode(context: &SlabRef<Context>, user: User) -> Result {
    let [enable, disable] = user.read::<2>()?.map(Features::from_bits);
    let toggle = Toggle::check(enable, disable, &offer(), context.features()).map_err(errno)?;
    protect::set_mode(context, toggle)
}

/// Replaces `userfaultfd_copy`.
fn copy(context: &Context, user: User) -> Result {
    const ANSWER: usize = 4;
    refuse_if_changing(context, user, ANSWER)?;
    let [dst, src, len, mode] = user.read::<ANSWER>()?;
    let limits = context.limits();
    let source = Range::unaligned(src, len, &limits).map_err(errno)?;
    let range = Range::aligned(dst, len, &limits).map_err(errno)?;
    let content = Content::Copied(UserPtr::from_addr(source.start()));
    conclude_fill(context, user, ANSWER, FillKind::Copy, mode, |mm, mode| {
        fill(mm, context.mappings(), content, range, mode)
    })
}

/// Replaces `userfaultfd_zeropage`, `userfaultfd_continue`, `userfaultfd_poison`, whose structs are
/// alike.
// Inlined, kind and content are constants, in the loop over the pages too.
#[inline(always)]
fn fill_range(context: &Context, user: User, kind: FillKind, content: Content) -> Result {
    const ANSWER: usize = 3;
    refuse_if_changing(context, user, ANSWER)?;
    let [start, len, mode] = user.read::<ANSWER>()?;
    let range = Range::aligned(start, len, &context.limits()).map_err(errno)?;
    conclude_fill(context, user, ANSWER, kind, mode, |mm, mode| {
        fill(mm, context.mappings(), content, range, mode)
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
    refuse_if_changing(context, user, ANSWER)?;
    let [dst, src, len, mode] = user.read::<ANSWER>()?;
    if !mm::is_own(context.mm()) {
        return Err(EINVAL);
    }
    let limits = context.limits();
    let range = Range::aligned(dst, len, &limits).map_err(errno)?;
    let source = Range::aligned(src, len, &limits).map_err(errno)?;
    let asker = ContextPtr::of(context);
    conclude_fill(context, user, ANSWER, FillKind::Move, mode, |mm, mode| {
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
fn refuse_if_changing(context: &Context, user: User, answer: usize) -> Result {
    if !context.mappings().are_changing() {
        return Ok(());
    }
    let report = Report::mappings_changing();
    let stored = user.write(answer, &[report.field as u64]).is_ok();
    report.conclude(stored, false).1.map_err(errno)
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
    mode: u64,
    fill: impl FnOnce(&MmWithUser, FillMode) -> Report,
) -> Result {
    let mode = kind.parse_mode(mode).map_err(errno)?;
    let report = {
        let mm = context.mm().mmget_not_zero().ok_or(ESRCH)?;
        fill(&mm, mode)
    };
    let stored = user.write(answer, &[report.field as u64]).is_ok();
    let (woken, result) = report.conclude(stored, mode.wake);
    if let Some(range) = woken {
        context.wake(range);
    }
    result.map_err(errno)
}
