// SPDX-License-Identifier: GPL-2.0-only

//! The fault queue: states of a sleeper.
