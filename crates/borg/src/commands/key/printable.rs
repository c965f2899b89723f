//! A page with a key for printing: nothing in it is fetched from anywhere, nothing runs.

use qrcode::render::svg;
use qrcode::{EcLevel, QrCode};

use crate::error::CommandError;

/// Makes the page: the content of the key file as QR code and text, and the lines for typing in.
///
/// # Errors
/// When the key is too long for a QR code.
pub fn page(key_file: &str, paper: &str) -> Result<String, CommandError> {
    // As much redundancy as still gives a code that a camera can tell apart.
    let code = [EcLevel::M, EcLevel::L]
        .into_iter()
        .find_map(|level| QrCode::with_error_correction_level(key_file, level).ok())
        .ok_or_else(|| CommandError::general("the key is too long for a QR code"))?;
    let drawing = code
        .render::<svg::Color<'_>>()
        .min_dimensions(480, 480)
        .build();
    let drawing = drawing.split_once("?>").map_or(&*drawing, |(_, svg)| svg);
    Ok(format!(
        "<!doctype html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<title>Borg key</title>
<style>
body {{ font-family: sans-serif; margin: 2em; max-width: 50em }}
pre {{ font-size: 90%; overflow-wrap: anywhere; white-space: pre-wrap }}
svg {{ height: auto; max-width: 100%; width: 12cm }}
</style>
</head>
<body>
<h1>Borg key</h1>
<p>Whoever has this page and the passphrase can read the repository. To restore the key, scan the
code into a file and run <code>borg key import REPOSITORY FILE</code>, or run <code>borg key import
--paper REPOSITORY</code> and type in the lines below.</p>
{drawing}
<pre>
{paper}</pre>
<p>What the code holds:</p>
<pre>
{key_file}</pre>
</body>
</html>
"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_holds_the_key_three_times_and_nothing_foreign() {
        let page = page("BORG_KEY 00ff\nabc\n", "BORG PAPER KEY v1\n").unwrap();
        assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
        assert!(page.contains("BORG_KEY 00ff\nabc\n") && page.contains("BORG PAPER KEY v1\n"));
        assert!(page.contains("<svg") && !page.contains("<script"));
        assert!(super::page(&"x".repeat(5000), "").is_err());
    }
}
