// SPDX-License-Identifier: GPL-2.0-only

//! The machinery that defines ABI items and lists them under their C names in one step, so
//! that a check against a C compiler can never see another set than programs use.

/// A constant of the interface under its C name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Constant {
    /// Name of the C macro.
    pub name: &'static str,
    /// Its value.
    pub value: u64,
}

/// A field of a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Path as C writes it after the structure, such as `arg.fork.ufd`.
    pub path: &'static str,
    /// Distance from the start of the structure in bytes.
    pub offset: usize,
    /// Size in bytes.
    pub size: usize,
}

/// A structure of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Name of the C structure, without `struct`.
    pub name: &'static str,
    /// Size in bytes.
    pub size: usize,
    /// Alignment in bytes.
    pub align: usize,
    /// Every field.
    pub fields: &'static [Field],
}

/// The name of a field as C writes it: without the mark of a name that is a keyword in Rust.
pub(crate) const fn c_path(path: &'static str) -> &'static str {
    match path.as_bytes() {
        [b'r', b'#', ..] => path.split_at(2).1,
        _ => path,
    }
}

/// Defines constants and lists all of them in `CONSTANTS`.
macro_rules! constants {
    ($( $(#[$attr:meta])* $name:ident: $ty:ty = $value:expr; )*) => {
        $( $(#[$attr])* pub const $name: $ty = $value; )*

        /// Every constant of the interface.
        pub const CONSTANTS: &[crate::Constant] = &[
            $( crate::Constant { name: stringify!($name), value: $name as u64 }, )*
        ];
    };
}
pub(crate) use constants;

/// The [`Field`] of a structure at a path; the field's size comes from its declared type.
macro_rules! field {
    ($of:ty, $ty:ty, $($path:tt)+) => {
        crate::Field {
            path: crate::layout::c_path(concat!($(stringify!($path)),+)),
            offset: core::mem::offset_of!($of, $($path)+),
            size: size_of::<$ty>(),
        }
    };
}
pub(crate) use field;

/// Defines plain structures and lists their layouts in `PLAIN_STRUCTS`.
macro_rules! structs {
    ($(
        $(#[$attr:meta])*
        $name:ident = $c_name:literal {
            $( $(#[$field_attr:meta])* $field:ident: $ty:ty, )*
        }
    )*) => {
        $(
            $(#[$attr])*
            #[repr(C)]
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
            pub struct $name {
                $( $(#[$field_attr])* pub $field: $ty, )*
            }
        )*

        /// The ioctl arguments.
        pub const PLAIN_STRUCTS: &[crate::Layout] = &[$(
            crate::Layout {
                name: $c_name,
                size: size_of::<$name>(),
                align: align_of::<$name>(),
                fields: &[ $( crate::layout::field!($name, $ty, $field), )* ],
            },
        )*];
    };
}
pub(crate) use structs;
