"""The page in a browser, opened from the disk: load, search, open, lasso, names, keys; skipped without a Chromium."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from support.page_of_run import NAMES, N, run_with_page, write_pictures

from benchmarks.chromium import Tab, chromium, program
from deepcluster.run.evaluate import evaluate
from deepcluster.settings.eval import EvalConfig
from deepcluster.system.tables import write_csv
from deepcluster.visualization.page.evaluation import Page

pytestmark = pytest.mark.skipif(program() is None, reason="no chromium on PATH")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seen")
    names = list(write_pictures(folder / "photographs"))
    run = run_with_page(folder, "page=false")
    rows = [
        [1, names[0], "exact", 0, "yes"],
        [1, names[20], "near", 0.1, "no"],
        [1, "later 100%.png", "near", 0.2, "no"],
    ]
    write_csv(run / "duplicates.csv", ["group", "sample", "kind", "distance", "keep"], rows)
    write_csv(run / "odd.csv", ["sample", "score", "rank"], [[names[i], 9 - i, i] for i in range(6)])
    (run / "k_scan.json").write_text('{"k": 5, "told": "sure: two halves find the same <5> groups"}')
    (run / "k_scan.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 72 36"/>')
    evaluate(EvalConfig(ckpt=str(run), evaluation=Page(groups=3)), folder / "eval")
    Image.new("RGB", (50, 50)).save(folder / "photographs" / "later 100%.png")  # in no cluster, as a test image
    (folder / "photographs" / names[30]).unlink()
    return run


@pytest.fixture(scope="module")
def browser(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with chromium(tmp_path_factory.mktemp("chromium")) as tab:
        tab.open((run / "page" / "index.html").as_uri())
        tab.wait("document.querySelector('.facts')", "the overview")
        yield tab


@pytest.fixture
def tab(browser: Tab) -> Iterator[Tab]:
    """The page at its overview; what goes wrong in it fails the test."""
    browser.errors.clear()
    browser.run("location.hash = '#/'")
    browser.wait("document.querySelector('main.view-overview .facts') && !viewer.open")
    yield browser
    assert browser.errors == []
    assert browser.run("document.title") == "photographs", "a file name ran as a script"


def go(tab: Tab, hash: str, until: str) -> None:
    tab.run(f"location.hash = {json.dumps(hash)}")
    tab.wait(until, hash)


def test_the_overview_counts_and_leads_everywhere(tab):
    facts = tab.run("[...document.querySelectorAll('.fact')].map(f => f.innerText)")
    assert [fact.split("\n")[0] for fact in facts] == [str(N), "5", facts[2].split("\n")[0], "1", "6"]
    links = tab.run("[...document.querySelectorAll('nav a')].filter(a => !a.hidden).map(a => a.getAttribute('href'))")
    assert links == ["#/", "#/map", "#/clusters", "#/odd", "#/duplicates"]
    tab.wait("document.querySelector('img.scan').naturalWidth > 0", "the scan's picture")
    said = tab.run("document.querySelector('img.scan').previousSibling.textContent")
    assert said == "5, chosen by a scan. Sure: two halves find the same <5> groups."


def test_a_cluster_shows_all_its_members_by_their_names(tab):
    seen = []
    for number in range(5):
        go(tab, f"#/cluster/{number}", f"document.querySelector('h1')?.textContent === 'Cluster {number}'")
        tiles = "[...document.querySelectorAll('main .tile')]"
        tab.wait(f"{tiles}.every(t => t.title)")
        titles = tab.run(f"{tiles}.map(t => t.title)")
        assert len(titles) == tab.run(f"overview.clusters.size[{number}]")
        seen += titles
    assert len(set(seen)) == len(seen) == N


def find(tab: Tab, words: str) -> list[int]:
    """What a search for these words finds."""
    found: list[int] = tab.run(
        f"(async () => {{ let all; await search({json.dumps(words)}, found => (all = found, true)); return all }})()"
    )
    return found


def test_originals_of_every_awkward_name_are_shown(tab):
    for i, name in enumerate(NAMES):
        (found,) = find(tab, "not utf-8" if "utf-8" in name else name)
        go(tab, f"#/?picture={found}", "document.querySelector('#viewer img')?.naturalWidth > 0")
        assert tab.run("viewer.querySelector('img').naturalWidth") == 40 + i % 7
        assert "photographs/" in tab.run("viewer.querySelector('.path').textContent")


def test_what_was_moved_or_deleted_says_so_and_can_be_found_again(tab, run):
    (found,) = find(tab, "class/30.png")
    go(tab, f"#/?picture={found}", "document.querySelector('.notice')")
    assert "moved, deleted or is broken" in tab.run("document.querySelector('.notice').innerText")
    tab.errors.clear()  # Chromium's own, of the file that is not there
    write_pictures(run.parent / "elsewhere")
    tab.run(f"window.prompt = () => {json.dumps(str(run.parent / 'elsewhere') + '/')}")
    tab.run("document.querySelector('.notice button').click()")
    tab.wait("document.querySelector('#viewer img')?.naturalWidth > 0")
    assert "elsewhere" in tab.run("viewer.querySelector('.path').textContent")
    tab.run("localStorage.clear(); forgetful.clear()")


def test_search_finds_file_names_by_all_their_words(tab):
    tab.press("/")
    tab.type("B 1")
    tab.press("Enter")
    tab.wait("document.querySelector('main h1')?.textContent.includes('B 1') && document.querySelector('main .tile')")
    names = [name for name in tab.run("(async () => (await load('names_0')))()") if "b" in name.lower() and "1" in name]
    assert tab.run("document.querySelectorAll('main .tile').length") == len(names)
    go(
        tab,
        "#/search/nothing%20like%20this",
        "document.querySelector('[role=status]')?.textContent.startsWith('No file')",
    )


def test_the_viewer_shows_similar_pictures_and_duplicates_and_goes_on_by_keys(tab):
    (found,) = find(tab, "<script>")
    go(tab, f"#/?picture={found}", "document.querySelectorAll('aside .tile').length === 14")
    assert tab.run("document.querySelector('aside h2').textContent") == "Duplicates: this is the one to keep"
    near = tab.run(f"similarTo({found})")
    shown = tab.run("[...document.querySelectorAll('aside > .strip .tile')].map(t => Number(t.dataset.picture))")
    assert shown == near and found not in near
    go(tab, "#/cluster/2?picture=" + str(tab.run("starts[2]")), "viewer.open")
    tab.press("ArrowRight")
    tab.wait("Number(viewer.dataset.picture) === starts[2] + 1")
    tab.press("Escape")
    tab.wait("!viewer.open && location.hash === '#/cluster/2'")


def box(tab: Tab) -> tuple[float, float, float, float]:
    """Left, top, width and height of the map."""
    of = "document.querySelector('.top').getBoundingClientRect()"
    left, top, width, height = (tab.run(f"{of}.{side}") for side in ("x", "y", "width", "height"))
    return left, top, width, height


def test_duplicates_stand_side_by_side_also_those_of_other_pictures(tab):
    go(tab, "#/duplicates", "document.querySelectorAll('.group .member').length === 3")
    tab.wait("document.querySelector('.group img').naturalWidth === 50")
    assert "not among these pictures" in tab.run("document.querySelector('.group').innerText")
    assert tab.run("document.querySelector('.member').innerText").startswith("keep")


def test_a_lasso_selects_what_lies_inside(tab):
    go(tab, "#/map", "document.querySelector('div.map .top')")
    x, y, width, height = box(tab)
    left, right, top, bottom = x + 9, x + width / 2, y + 9, y + height - 9  # the corners are round
    inside = [(left, top), (right, top), (right, bottom), (left, bottom)]
    tab.drag(inside, shift=True)
    places = tab.run("(async () => Array.from((await load('map')).x))()")
    middle = (min(places) + max(places)) / 2  # all fit into the canvas, so its middle is theirs
    selected = tab.run("selection")
    assert 0 < len(selected) < N
    assert sorted(selected) == [i for i, place in enumerate(places) if place < middle]
    go(tab, "#/selection", "document.querySelectorAll('main .tile').length > 0")
    assert tab.run("document.querySelectorAll('main .tile').length") == min(180, len(selected))


def test_thumbnails_appear_on_the_map_and_a_click_opens_the_picture(tab):
    go(tab, "#/map", "document.querySelector('div.map .top')")
    # A canvas cannot be read any more once a picture from the disk was drawn on it: that tells that one was.
    read = "document.querySelector('.top').getContext('2d').getImageData(0, 0, 1, 1)"
    tab.wait(f"(() => {{ try {{ {read}; return false }} catch {{ return true }} }})()", "pictures on the map")
    dots = "const {x, y} = await load('map'); const dots = new Dots(document.querySelector('div.map canvas'), x, y)"
    point = "dots.fit(); const [px, py] = dots.at(17)"
    px, py, there = tab.run(f"(async () => {{ {dots}; {point}; return [px, py, dots.nearest(px, py, 5)] }})()")
    left, top, _, _ = box(tab)
    tab.drag([(left + px, top + py)])
    tab.wait(f"viewer.open && Number(viewer.dataset.picture) === {there}")


def test_a_run_that_went_back_to_its_start_tells_how_long_it_trained(tab):
    go(tab, "#/", "document.querySelector('.facts')")
    assert ", 0 epochs; " in tab.run("learnedCard().textContent")
    given_up = "overview.figures = {...kept, learned: 'training took 3 points', given_up: 7}"
    read = "const told = learnedCard().textContent; overview.figures = kept; return told"
    told = tab.run(f"(() => {{ const kept = overview.figures; {given_up}; {read} }})()")
    assert "as it started, because 7 epochs of training made it worse; clusters" in told and "0 epochs" not in told


def test_names_are_kept_and_exported(tab):
    go(tab, "#/cluster/3", "document.querySelector('input.name')")
    tab.press("n")
    tab.type('blue, "deep" <b>')
    tab.press("Enter")
    tab.wait("nameOfCluster(3)")
    assert tab.run("namesAsCsv()") == 'cluster,name\n3,"blue, ""deep"" <b>"\n'
    tab.run("location.reload()")
    tab.wait("document.querySelector('h1')?.textContent === 'blue, \"deep\" <b>'")
    go(tab, "#/clusters", "document.querySelectorAll('.cluster').length === 5")
    assert "Export 1 name" in tab.run("document.querySelector('.toolbar').innerText")
    tab.run("localStorage.clear(); forgetful.clear(); readNames()")


def enter(tab: Tab, field: str, value: str, event: str) -> None:
    """A value into a field, as if it were chosen or typed."""
    place = f"Object.assign(document.querySelector({json.dumps(field)}), {{value: {json.dumps(value)}}})"
    tab.run(f"{place}.dispatchEvent(new Event({json.dumps(event)}))")


def test_clusters_are_sorted_and_filtered(tab):
    go(tab, "#/clusters", "document.querySelectorAll('.cluster').length === 5")
    numbers = "[...document.querySelectorAll('.cluster')].map(c => Number(c.dataset.cluster))"
    sizes, distances = tab.run("overview.clusters.size"), tab.run("overview.clusters.distance")
    purities = [shares[0][1] for shares in tab.run("overview.clusters.shares")]
    keys = {"largest": sizes, "smallest": sizes, "compact": distances, "loose": distances, "pure": purities}
    for sort, values in keys.items():
        enter(tab, "select", sort, "change")
        sign = -1 if sort in ("largest", "loose", "pure") else 1
        assert tab.run(numbers) == sorted(range(5), key=lambda i, v=values, s=sign: (s * v[i], i)), sort
    middle = sorted(sizes)[2]
    enter(tab, ".filter", f"size>{middle} cluster", "input")
    assert sorted(tab.run(numbers)) == [i for i in range(5) if sizes[i] > middle]
    groups = tab.run("overview.clusters.group")
    enter(tab, ".filter", "group=0", "input")
    assert sorted(tab.run(numbers)) == [i for i in range(5) if groups[i] == 0]
    enter(tab, "select", "group", "change")
    enter(tab, ".filter", "", "input")
    assert tab.run(numbers) == sorted(range(5), key=lambda i: (groups[i], i))
    assert tab.run("document.querySelector('.cluster .soft').textContent").endswith(" · group 0")
    enter(tab, ".filter", "purity<0%", "input")
    assert tab.run(numbers) == []
    tab.run("Object.assign(listing, {filter: '', sort: 'largest'})")


PARTS = {
    "#/": ".facts",
    "#/clusters": ".cluster",
    "#/cluster/1": ".tile",
    "#/map": ".top",
    "#/duplicates": ".group",
    "#/odd": ".tile",
    "#/cluster/1?picture=40": "#viewer img",
}


def test_nothing_is_wider_than_a_phone(tab):
    tab.resize(360, 700, phone=True)
    for hash, there in PARTS.items():
        go(tab, hash, f"document.querySelector('main {there}, {there}')")
        assert tab.run("document.documentElement.scrollWidth") <= 360, hash
    tab.resize(1280, 860)


def test_pictures_far_from_the_window_and_a_map_that_was_left_are_let_go_of(tab):
    go(tab, "#/map", "document.querySelector('div.map .top')?.width > 0")
    tab.run("void (window.leftMap = document.querySelector('div.map .top'))")
    tab.resize(400, 150)
    go(tab, "#/clusters", "document.querySelectorAll('.cluster').length === 5")
    assert tab.run("leftMap.width") == 0
    at = "[...document.querySelectorAll('[data-sheet]')].at({}).style.getPropertyValue('--sheet')"
    tab.wait(f"{at.format(0)}.startsWith('url') && !{at.format(-1)}.startsWith('url')", "the first cover alone")
    tab.run("window.scrollTo(0, document.documentElement.scrollHeight)")
    tab.wait(f"!{at.format(0)}.startsWith('url') && {at.format(-1)}.startsWith('url')", "the last cover alone")
    tab.resize(1280, 860)
