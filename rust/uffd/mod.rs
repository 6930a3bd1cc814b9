// SPDX-License-Identifier: GPL-2.0-only

//! The subsystem: contexts, faults, registration, fills.
