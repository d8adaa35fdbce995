//! Every bound of the program in one value, each with the reason for its default.

use std::num::NonZeroU64;
use std::time::Duration;

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
    /// need about 100 kB; this is room for an index and a manifest of the largest size.
    pub documents_bytes: u64,
    /// Bytes of documents that an ordinary image has at the most: an index, a manifest and a
    /// config have about 20 kB. Whoever pulls or asks takes that much in memory anyway.
    pub ordinary_documents_bytes: u64,
    /// Bytes of documents of all images with more than that, kept in memory at a time. Three
    /// pulls of the largest may be under way while a fourth is read.
    pub kept_documents_bytes: u32,
    /// Layers in one manifest. overlayfs stacks 500 at most; more cannot run anywhere.
    pub layers: usize,
    /// Redirects followed for one request; what browsers and containerd allow.
    pub redirects: usize,
    /// Bytes of a token response. It goes into a header of every request, of which common servers
    /// take 8 KiB, and hyper 16 KiB by default over HTTP/2.
    pub token_bytes: usize,
    /// Bytes of an error body read for its message.
    pub error_bytes: usize,
    /// Blobs downloaded at a time for one pull. One connection rarely fills a link, ten rarely help.
    pub concurrent_downloads: usize,
    /// Connections to one host. Storage behind registries gives each 20 to 100 MB/s, so that
    /// sixteen fill a fast link; load balancers begin to refuse somewhere above.
    pub connections_per_host: usize,
    /// Connections to all hosts together; with `connection_bytes` each they fit into half the
    /// memory budget.
    pub connections: usize,
    /// Bytes from which on a blob is fetched in ranges. Below, a second request costs more
    /// than it brings.
    pub split_from: u64,
    /// Bytes of the shortest range. At 20 MB/s it takes a fifth of a second, several times a
    /// round trip to the other side of the world.
    pub shortest_range: u64,
    /// Bytes of the longest range, and so what a break may cost where data was not synced yet.
    pub longest_range: u64,
    /// How long a range should take: long beside a round trip, short beside the patience of
    /// whoever waits for the last one.
    pub range_time: Duration,
    /// Bytes that one connection may hold: two buffers between network and disk of
    /// `chunk_bytes` and what the HTTP library reads ahead.
    pub connection_bytes: u32,
    /// Bytes that are gathered before they are written: large enough that the cost of a write
    /// vanishes, small enough to stay in a CPU's cache until they are hashed.
    pub chunk_bytes: usize,
    /// Bytes in memory of the whole process, beside what does not grow with images: half for the
    /// network, an eighth for what is remembered of layers, the rest for buffers of unpacking.
    pub buffer_bytes: u32,
    /// Bytes per second of all downloads together; unlimited unless the operator says so.
    pub bandwidth: Option<NonZeroU64>,
    /// Bytes per second below which a connection counts as stalled. Nobody waits for an image
    /// that comes at less.
    pub stall_rate: u64,
    /// Bytes per second below which a connection ends for others that wait for one, as long as all
    /// are taken: far below what a link brings that is shared by as many as there may be.
    pub fair_rate: u64,
    /// Over how long that is averaged, and how long the head of a reply may take while another
    /// host is left. Registries that have to ask their own upstream, and TCP after a lost burst,
    /// are silent for some seconds.
    pub stall_window: Duration,
    /// Seconds for which a download that was broken off is kept: who has not come back for it
    /// after a week will hardly want that version any more.
    pub staging_age_seconds: u64,
    /// Bytes of broken-off downloads kept in one staging directory: two of the largest images
    /// in common use, and little of a node's disk.
    pub staging_bytes: u64,
    /// Files kept in one staging directory, two for each download: ext4 has an inode for every
    /// 16 KiB of a disk, so that these are few of them on any disk that holds the bytes.
    pub staging_files: u64,
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
    /// Bytes that all layers of one image may unpack to. The largest images, which hold models, have
    /// some hundred GB; whoever wants to fill a disk has to send that many layers.
    pub image_inflated_bytes: u64,
    /// Files and directories that all layers of one image may bring: twice what one of them may.
    pub image_entries: u64,
    /// Bytes that a layer may inflate to however small its blob is. Below, files of zeros are
    /// common: preallocated databases, small disks of virtual machines.
    pub inflation_free: u64,
    /// How many times a blob's size a layer may inflate to beyond that. Software and data have less
    /// than 20. A disk of 10 GiB with 15 MB of content has 410 in gzip, which cannot do more than
    /// 1032; what has more is zeros and nothing else.
    pub inflation_times: u64,
    /// Percent of a file system's bytes, and of its inodes, that unpacking leaves to others, so
    /// that a node which refuses an image can still write its logs and its state. kubelet begins to
    /// evict pods far above, at 10 and 15.
    pub disk_floor_percent: u64,
    /// Bytes beyond which that floor does not grow: no node needs 40 GB of a large disk to go on.
    /// On a card of 8 GB the floor is 160 MB.
    pub disk_floor_bytes: u64,
    /// Bytes in memory for the file names of one image that is inspected: about a million files.
    pub tree_bytes: u64,
    /// Bytes read of the program that an image starts. Its headers are in the first few KiB.
    pub program_bytes: usize,
}

impl Limits {
    /// The least that makes sense for [`Limits::buffer_bytes`]: the largest decoder still fits
    /// into the part that is for unpacking, and a range for each of 16 connections into theirs.
    pub const LEAST_BUFFER_BYTES: u32 = 32 * 1024 * 1024;

    /// Bytes that a layer may inflate to whose blob has so many.
    #[must_use]
    pub fn inflated(&self, blob: u64) -> u64 {
        blob.saturating_mul(self.inflation_times).max(self.inflation_free)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            document_bytes: 4 * 1024 * 1024,
            index_entries: 1000,
            index_depth: 4,
            documents: 64,
            documents_bytes: 8 * 1024 * 1024,
            ordinary_documents_bytes: 64 * 1024,
            kept_documents_bytes: 20 * 1024 * 1024,
            layers: 500,
            redirects: 10,
            token_bytes: 16 * 1024,
            error_bytes: 16 * 1024,
            concurrent_downloads: 6,
            connections_per_host: 16,
            connections: 32,
            split_from: 8 * 1024 * 1024,
            shortest_range: 4 * 1024 * 1024,
            longest_range: 64 * 1024 * 1024,
            range_time: Duration::from_millis(1500),
            connection_bytes: 1024 * 1024,
            chunk_bytes: 256 * 1024,
            buffer_bytes: 64 * 1024 * 1024,
            bandwidth: None,
            stall_rate: 1024,
            fair_rate: 16 * 1024,
            stall_window: Duration::from_secs(10),
            staging_age_seconds: 7 * 24 * 60 * 60,
            staging_bytes: 20 * 1024 * 1024 * 1024,
            staging_files: 100_000,
            layer_inflated_bytes: 64 * 1024 * 1024 * 1024,
            tar_name_bytes: 4096,
            tar_pax_bytes: 1024 * 1024,
            layer_entries: 16 * 1024 * 1024,
            image_inflated_bytes: 512 * 1024 * 1024 * 1024,
            image_entries: 32 * 1024 * 1024,
            inflation_free: 4 * 1024 * 1024 * 1024,
            inflation_times: 500,
            disk_floor_percent: 2,
            disk_floor_bytes: 4 * 1024 * 1024 * 1024,
            tree_bytes: 256 * 1024 * 1024,
            program_bytes: 1024 * 1024,
        }
    }
}
