"""What counts as a photograph, by names and first bytes: the law that index.py follows when it lists folders."""

import os
import re
from collections.abc import Collection

_JPEG = (".jpg", ".jpeg", ".jpe", ".jfif")
EXTENSIONS = (*_JPEG, ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".npy")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Pictures and films that are not read. Raw files are TIFF inside, so their first bytes must not decide.
_NOT_READ = _words(
    ".heic .heif .hif .avif .jxl .jp2 .j2k .jpx .jpf .jxr .svg .svgz .ico .icns .psd .psb .xcf .kra .ai .eps .tga .pcx "
    ".dds .exr .hdr .dcm .dng .cr2 .cr3 .crw .nef .nrw .arw .sr2 .srf .srw .orf .rw2 .rwl .raf .pef .ptx .raw .3fr "
    ".iiq .erf .mef .mos .mrw .kdc .dcr .k25 .x3f .gpr .mp4 .m4v .mov .avi .mkv .mpg .mpeg .mts .m2ts .3gp .wmv .webm "
    ".insv .lrv .fff"
)
# Side files of photographs and other files that hold none: not worth a look inside. .thm: the thumbnail of a film.
_NO_PICTURE = _words(
    ".txt .md .rst .csv .tsv .json .jsonl .xml .xmp .yaml .yml .toml .ini .cfg .log .html .htm .css .js .py .ipynb .sh "
    ".pdf .doc .docx .xls .xlsx .aae .thm .exif .pp3 .dop .on1 .cos .lrprev .lrcat .db .sqlite .lnk .url .mat .npz .pt "
    ".pth .ckpt .pkl .h5 .hdf5 .parquet .arrow .tfrecord .lmdb .zip .tar .gz .bz2 .xz .7z .rar .tgz .bin .idx .md5 "
    ".sha1 .sha256 .wav .mp3 .m4a .srt .gpx .kml .geojson"
)
# Half a download, or an editor's copy of the file beside it: .jpg_original is exiftool's.
_COPY = re.compile(r"(\.(part|partial|crdownload|download|filepart|tmp|temp|bak|orig|old|swp)|~|_original)$", re.I)

# Folders that systems and programs keep beside photographs for themselves; hidden ones (".git") are left out too.
_SYSTEM_FOLDERS = frozenset(
    {"@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "$recycle.bin", "recycler"}
    | {"system volume information", "lost+found", "lost.dir", "network trash folder", "temporary items", "__macosx"}
    | {"mlruns", "mlflow_files", "wandb", "lightning_logs"}
)
_SYSTEM_ENDINGS = (".lrdata", ".lrlibrary", ".cocatalogdb")  # previews of Lightroom and Capture One
_THUMBNAILS = frozenset({"thumbs", "thumbnails", "thumb", "thumbnail"})
_THUMBNAIL_MARK = re.compile(r"^(thumb|thumbnail|tn|small)[-_.]|[-_.](thumb|thumbnail|tn|small)$")
_PHOTOS_LIBRARY = (".photoslibrary", ".photolibrary", ".migratedphotolibrary")
_ORIGINALS = frozenset({"originals", "masters"})  # its photographs; beside them lie smaller copies and faces

# Our own folders: of each list all names are there. Old runs had the first two, results may be interrupted.
_OURS = (
    {"config.yaml", "checkpoints"},
    {"config.yaml", "train.log"},
    {"config.yaml", "metrics.csv"},
    {"eval.log"},
    {"clusters.csv", "gallery.csv"},
    {"multirun.yaml"},
    {".hydra"},
)


def is_image_name(name: str) -> bool:
    """A file that is an image by its name; a broken one is then an error."""
    return name.lower().endswith(EXTENSIONS)


def is_plain_image(name: str) -> bool:
    """By its name, and not hidden."""
    return name[0] != "." and name.lower().endswith(EXTENSIONS)


def is_hidden(name: str) -> bool:
    """As .DS_Store, .Trash-1000, .thumbnails and ._im.jpg, which macOS writes beside im.jpg."""
    return name.startswith(".")


def is_of_system(folder: str) -> bool:
    """A folder that a system or program keeps for itself: thumbnails, bins, snapshots, trackers' files."""
    return folder.lower() in _SYSTEM_FOLDERS or folder.lower().endswith(_SYSTEM_ENDINGS)


def is_unread_format(name: str) -> bool:
    """A picture or film of a format that is not read."""
    return extension(name) in _NOT_READ


def may_be_image(name: str) -> bool:
    """The name says nothing, so the first bytes decide."""
    return extension(name) not in _NO_PICTURE | _NOT_READ and _COPY.search(name) is None


def extension(name: str) -> str:
    """In lower case, with its dot; "" if there is none."""
    return os.path.splitext(name)[1].lower()


def is_ours(names: Collection[str]) -> bool:
    """A folder with these names in it is a run, a sweep, or an evaluation's results."""
    return any(marks.issubset(names) for marks in _OURS)


def folders_of_library(path: str, folders: list[str]) -> list[str]:
    """Those of the folders in `path` to look into: only the originals of a library of Apple's Photos."""
    if not path.rstrip("/").lower().endswith(_PHOTOS_LIBRARY):
        return folders
    return [name for name in folders if name.lower() in _ORIGINALS]


def may_be_thumbnails(folder: str) -> bool:
    """A folder called Thumbs: a class may be called so too, see :func:`are_thumbnails`."""
    return folder.lower() in _THUMBNAILS


def are_thumbnails(names: Collection[str], beside: Collection[str]) -> bool:
    """Every image has a namesake beside the folder: im1.jpg or thumb_im1.jpg below a folder with im1.png."""
    return bool(names) and {_stem(name) for name in names} <= {_stem(name) for name in beside}


def _stem(name: str) -> str:
    return _THUMBNAIL_MARK.sub("", os.path.splitext(name)[0].lower())


def starts_as_image(head: bytes) -> bool:
    """The first 32 bytes are those of a JPEG, PNG, GIF, WebP, TIFF or BMP."""
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")):
        return True
    if head[:4] == b"RIFF":
        return head[8:12] == b"WEBP"
    return head[:2] == b"BM" and head[6:10] == bytes(4) and head[14:18] in _BMP_HEADERS


_BMP_HEADERS = [size.to_bytes(4, "little") for size in (12, 40, 52, 56, 64, 108, 124)]
