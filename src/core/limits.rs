//! Every bound of the program in one value, each with the reason for its default.

/// Bounds on what strangers (registries, images, callers) can make us do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one index, manifest or config document. 4 MiB is the least that the OCI
    /// distribution specification asks registries to accept, and what containerd reads at most.
    pub document_bytes: u64,
    /// Entries in one index. The largest public indexes have about 30; each costs us a row.
    pub index_entries: usize,
    /// Indexes within indexes. Two occur in the wild; beyond four it is a trap.
    pub index_depth: usize,
    /// Documents read to explain one reference (nested indexes, configs of entries without platform).
    pub documents: usize,
    /// Bytes of all documents of one image, kept in memory during a pull. Thirty platforms
    /// need about 100 kB.
    pub documents_bytes: u64,
    /// Layers in one manifest. overlayfs stacks 500 at most; more cannot run anywhere.
    pub layers: usize,
    /// Redirects followed for one request; what browsers and containerd allow.
    pub redirects: usize,
    /// Bytes of a token response. Real ones are below 16 KiB.
    pub token_bytes: usize,
    /// Bytes of an error body read for its message.
    pub error_bytes: usize,
    /// Blobs downloaded at a time for one pull. One connection rarely fills a link, ten rarely help.
    pub concurrent_downloads: usize,
    /// Chunks in memory between the network and the disk, per blob.
    pub chunks_in_flight: usize,
    /// Bytes that one layer may inflate to while we look for a file in it. Deflate shrinks at
    /// most 1:1032, so a bomb costs time only; the largest layers in public images are below.
    pub layer_inflated_bytes: u64,
    /// Bytes of one file name in a layer. Linux opens none longer (`PATH_MAX`).
    pub tar_name_bytes: usize,
    /// Bytes of one pax header in a layer. Go's tar reader, and so containerd, stops there too.
    pub tar_pax_bytes: usize,
    /// Files and directories that one layer may bring. The largest public ones have less than
    /// a million; each takes an inode, of which a file system has only so many.
    pub layer_entries: u64,
    /// Bytes in memory for the file names of one image: about a million files.
    pub tree_bytes: u64,
    /// Bytes read of the program that an image starts. Its headers are in the first few KiB.
    pub program_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            document_bytes: 4 * 1024 * 1024,
            index_entries: 1000,
            index_depth: 4,
            documents: 64,
            documents_bytes: 64 * 1024 * 1024,
            layers: 500,
            redirects: 10,
            token_bytes: 1024 * 1024,
            error_bytes: 16 * 1024,
            concurrent_downloads: 6,
            chunks_in_flight: 16,
            layer_inflated_bytes: 64 * 1024 * 1024 * 1024,
            tar_name_bytes: 4096,
            tar_pax_bytes: 1024 * 1024,
            layer_entries: 16 * 1024 * 1024,
            tree_bytes: 256 * 1024 * 1024,
            program_bytes: 1024 * 1024,
        }
    }
}
