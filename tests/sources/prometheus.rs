//! Exporters that are scraped.
