//! What a peer may make the gate hold.

/// Bounds of what is read; each is the largest amount that is still allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes from the start of a stream to the end of its header.
    pub header: usize,
    /// Bytes of one first-level element, as it came and as it is written again.
    pub element: usize,
    /// Levels of elements, the first-level element being the first.
    pub depth: usize,
    /// Attributes of one element, namespace declarations aside.
    pub attributes: usize,
    /// Namespace declarations in scope, those of the stream header included.
    pub declarations: usize,
}

impl Limits {
    /// For a peer that has not proven who it is.
    pub const UNAUTHENTICATED: Self = Self { header: 4096, element: 8192, depth: 16, attributes: 32, declarations: 16 };

    /// For another server that has not: what it has to say is shorter, and it may have shown
    /// certificates, which are held too.
    pub const UNAUTHENTICATED_SERVER: Self = Self { element: 4096, ..Self::UNAUTHENTICATED };

    /// For an authenticated client.
    pub const CLIENT: Self = Self { header: 4096, element: 256 * 1024, depth: 64, attributes: 64, declarations: 64 };

    /// For another server or a component that has proven who it is.
    pub const SERVER: Self = Self { header: 4096, element: 512 * 1024, depth: 64, attributes: 64, declarations: 64 };

    /// For stanzas that the server itself wrote: `from` has been added and declarations have been
    /// made local, so that they may be larger than what came in.
    pub const OWN: Self = Self {
        header: 4096,
        element: u32::MAX as usize,
        depth: usize::MAX,
        attributes: usize::MAX,
        declarations: usize::MAX,
    };
}
