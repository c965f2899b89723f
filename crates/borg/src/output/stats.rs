//! The tables of sizes that `--stats` and `info` print.

use super::text::Units;

/// Separates the parts of a table.
pub const DASHES: &str =
    "------------------------------------------------------------------------------";

/// Names the columns of sizes.
pub const HEADER: &str =
    "                       Original size      Compressed size    Deduplicated size";

/// Returns one line of sizes; a negative size is space that was given back.
pub fn sizes_line(
    label: &str,
    units: Units,
    original: i64,
    compressed: i64,
    unique: i64,
) -> String {
    format!(
        "{label:<15} {:>20} {:>20} {:>20}",
        units.size(original),
        units.size(compressed),
        units.size(unique)
    )
}

/// Sums over all archives and all chunks of a repository.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepositoryTotals {
    /// Bytes of all files of all archives.
    pub original_bytes: u64,
    /// Bytes of their chunks as stored, counted each time they occur.
    pub compressed_bytes: u64,
    /// Bytes of all chunks before compression, counted once.
    pub unique_bytes: u64,
    /// Bytes of all chunks as stored, counted once.
    pub unique_compressed_bytes: u64,
    /// Chunks, counted once.
    pub unique_chunks: u64,
    /// Chunks, counted each time they occur.
    pub chunks: u64,
}

impl RepositoryTotals {
    /// Returns the lines about the whole repository.
    pub fn table(&self, units: Units) -> String {
        format!(
            "All archives:   {:>20} {:>20} {:>20}\n\n{:>36} {:>20}\nChunk index:    {:>20} {:>20}",
            units.bytes(self.original_bytes),
            units.bytes(self.compressed_bytes),
            units.bytes(self.unique_compressed_bytes),
            "Unique chunks",
            "Total chunks",
            self.unique_chunks,
            self.chunks
        )
    }
}

/// Returns a share of one as a percentage without digits, as Python rounds it.
pub fn percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_line_up_as_borgs_do() {
        let totals = RepositoryTotals {
            original_bytes: 93_720,
            compressed_bytes: 27_250,
            unique_bytes: 90_000,
            unique_compressed_bytes: 28_560,
            unique_chunks: 9,
            chunks: 9,
        };
        let table = [
            HEADER.to_owned(),
            sizes_line("This archive:", Units::Decimal, 93_720, 27_250, 27_250),
            totals.table(Units::Decimal),
        ];
        insta::assert_snapshot!(format!("|\n{}", table.join("\n")), @r"
        |
                               Original size      Compressed size    Deduplicated size
        This archive:               93.72 kB             27.25 kB             27.25 kB
        All archives:               93.72 kB             27.25 kB             28.56 kB

                               Unique chunks         Total chunks
        Chunk index:                       9                    9
        ");
    }

    #[test]
    fn given_back_space_is_negative() {
        let line = sizes_line("Deleted data:", Units::Decimal, -93_720, -27_250, -500);
        assert_eq!(
            line,
            "Deleted data:              -93.72 kB            -27.25 kB               -500 B"
        );
    }
}
