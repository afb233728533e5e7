//! What a browser takes an object for.

use obsync_proto::VaultPath;

/// The `Content-Type` of a file, by its extension: what notes and their attachments are made of.
pub(super) fn media_type(path: &VaultPath) -> &'static str {
    let extension = path.name().rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    match extension.as_deref().unwrap_or_default() {
        "md" | "markdown" => "text/markdown; charset=utf-8",
        "txt" | "log" => "text/plain; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "htm" | "html" => "text/html; charset=utf-8",
        "ics" => "text/calendar; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "xml" => "text/xml; charset=utf-8",
        "yaml" | "yml" => "application/yaml; charset=utf-8",
        // An Obsidian canvas or base is text of another format.
        "canvas" | "json" => "application/json",
        "base" => "application/yaml; charset=utf-8",
        "epub" => "application/epub+zip",
        "pdf" => "application/pdf",
        "zip" => "application/zip",
        "avif" => "image/avif",
        "bmp" => "image/bmp",
        "gif" => "image/gif",
        "heic" => "image/heic",
        "ico" => "image/vnd.microsoft.icon",
        "jpeg" | "jpg" => "image/jpeg",
        "png" => "image/png",
        "svg" => "image/svg+xml; charset=utf-8",
        "tif" | "tiff" => "image/tiff",
        "webp" => "image/webp",
        "3gp" => "video/3gpp",
        "aac" => "audio/aac",
        "flac" => "audio/flac",
        "m4a" => "audio/mp4",
        "mp3" => "audio/mpeg",
        "oga" | "ogg" | "opus" => "audio/ogg",
        "wav" => "audio/wav",
        "mkv" => "video/x-matroska",
        "mov" => "video/quicktime",
        "m4v" | "mp4" => "video/mp4",
        "ogv" => "video/ogg",
        "webm" => "video/webm",
        "woff2" => "font/woff2",
        "docx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "pptx" => "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_is_by_the_last_extension() {
        let cases = [
            ("note.md", "text/markdown; charset=utf-8"),
            ("folder.md/Board.CANVAS", "application/json"),
            ("a.tar.gz", "application/octet-stream"),
            ("folder.md/no extension", "application/octet-stream"),
            ("រូប.png", "image/png"),
        ];
        for (path, expected) in cases {
            assert_eq!(media_type(&VaultPath::parse(path).unwrap()), expected, "{path}");
        }
    }
}
