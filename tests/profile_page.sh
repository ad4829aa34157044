#!/usr/bin/env bash
# The files of stithy profile as their readers see them: the page in a browser, on a wide and on a narrow screen, light and
# dark, with everything pressed that can be pressed; the trace in protobuf's own decoder.
set -u
stithy=${STITHY_BUILD:?}/bin/stithy
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failures=0
fail() { echo "FAILED: $*"; failures=$((failures + 1)); }
for browser in chromium chromium-browser google-chrome ""; do [[ -n $browser ]] && command -v "$browser" >/dev/null && break; done
[[ -n $browser ]] || { echo "no Chromium is installed"; exit 77; }

# What the page has become: this is put into it, since its own policy lets nothing in. It tells the page around it, which is
# there because the browser's windows have a least width, but its frames have none.
cat >"$scratch/probe.js" <<'JS'
const count = (selector) => document.querySelectorAll(selector).length;
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
(async () => {
  // Charts are drawn with the next frame, which may come late.
  for (let i = 0; i < 200 && !(count('#memory .line') && (count('#roofline svg') || !data.timed)); ++i) await wait(100);
  await wait(200);
  const all = {
    inner: innerWidth, wide: document.documentElement.scrollWidth, points: count('#roofline circle.point'),
    roofs: count('#roofline .roof'), frames: count('#flame .frame'), blocks: count('#timeline .block'),
    barriers: count('#timeline .barrier'), needless: count('#timeline .barrier.needless'), kernels: count('details.page'),
    rows: count('#table tbody tr'), images: count('img'), background: getComputedStyle(document.body).backgroundColor,
    lines: count('#memory .line'), columns: count('#table th'),
  };
  // No label leaves its chart or lies on another.
  const boxes = [...document.querySelectorAll('#roofline text')].map((text) => [text, text.getBoundingClientRect()]);
  const chart = document.querySelector('#roofline svg');
  const frame = chart ? chart.getBoundingClientRect() : null;
  all.outside = boxes.filter(([, box]) => box.left < frame.left - 1 || box.right > frame.right + 1).length;
  all.collisions = boxes.filter(([text, a], i) => !text.hasAttribute('transform') && boxes.slice(i + 1).some(([other, b]) =>
    !other.hasAttribute('transform') && a.left < b.right - 2 && b.left < a.right - 2 && a.top < b.bottom - 4 && b.top < a.bottom - 4)).length;
  for (const frame of [...document.querySelectorAll('.frame,.block,.barrier,.gap,circle.point,.cover')].slice(0, 400)) {
    frame.dispatchEvent(new PointerEvent('pointermove', { pointerType: 'mouse', clientX: 200, clientY: 200 }));
    frame.dispatchEvent(new MouseEvent('click', { bubbles: true }));
  }
  all.zoomed = count('#flame .frame[hidden]') > 0;
  for (const button of document.querySelectorAll('button')) if (!button.hidden) button.click();
  for (const name of ['op', 'layer', 'kernel', 'call'])
    for (let i = 0; ; ++i) {
      document.querySelector(`#views [data-view=${name}]`).click();
      const head = document.querySelectorAll('#table th button');
      if (i >= head.length) break;
      head[i].click();
      document.querySelectorAll('#table th button')[i].click();
    }
  const filter = document.getElementById('filter');
  filter.value = 'no such thing';
  filter.dispatchEvent(new Event('input'));
  all.filtered = count('#table tbody tr');
  filter.value = '';
  filter.dispatchEvent(new Event('input'));
  for (const details of document.querySelectorAll('details')) details.open = true;
  await wait(300);
  for (const details of document.querySelectorAll('details')) details.open = true;
  await wait(300);
  all.sources = [...document.querySelectorAll('details.page pre')].filter((pre) => pre.textContent.length > 100).length;
  all.tables = [...document.querySelectorAll('details.page h3')].filter((head) => head.textContent.startsWith('Hardware')).length;
  all.beside = count('.code.beside');
  all.wideOpen = document.documentElement.scrollWidth;
  // The sources speak of NaN themselves.
  for (const pre of document.querySelectorAll('pre')) pre.hidden = true;
  all.odd = (document.body.innerText.match(/NaN|undefined|Infinity|\[object|\bnull\b|-nan|\binf\b/g) || []).join(' ') || 'none';
  parent.postMessage(Object.entries(all).map(([name, value]) => `${name}=${value}`).join(';') + ';', '*');
})();
JS

# look PAGE WIDTH SCHEME: $seen is what the probe found; SCHEME 0 is dark, 1 light.
look() {
  local page=$1 width=$2 scheme=$3 nonce dom
  nonce=$(grep -oE "nonce-[0-9a-f]+" "$page" | head -n 1)
  { sed 's:</body></html>::' "$page"; echo "<script nonce=\"${nonce#nonce-}\">$(<"$scratch/probe.js")</script></body></html>"; } >"$scratch/probed.html"
  cat >"$scratch/around.html" <<HTML
<!doctype html><title></title><script>addEventListener('message', (event) => { document.title = event.data; });</script>
<iframe src="probed.html" style="border:0;width:${width}px;height:900px"></iframe>
HTML
  rm -rf "$scratch/browser"
  dom=$(timeout 120 "$browser" --headless --no-sandbox --disable-gpu --disable-background-networking --user-data-dir="$scratch/browser" \
    --window-size=1400,1000 --hide-scrollbars --blink-settings=preferredColorScheme="$scheme" --virtual-time-budget=60000 --enable-logging=stderr \
    --dump-dom "file://$scratch/around.html" 2>"$scratch/console")
  grep CONSOLE "$scratch/console" && fail "$page at $width: the console says something"
  seen=$(grep -oE '<title>[^<]*</title>' <<<"$dom" | head -n 1)
  [[ $seen == *"odd="* ]] || fail "$page at $width: the page's scripts did not come to their end: $seen"
}
expect() {  # WHERE PART...
  local where=$1 part; shift
  for part in "$@"; do [[ $seen == *[\;\>]"$part;"* ]] || fail "$where: not $part in $seen"; done
}

STITHY_PAGES=$scratch "$STITHY_BUILD/bin/stithy_tests" --test-suite=profile_html >"$scratch/log" || fail "$(<"$scratch/log")"
for width in 1280 390; do
  for scheme in 0 1; do
    look "$scratch/plain.html" $width $scheme
    expect "plain, $width" inner=$width wide=$width wideOpen=$width points=4 roofs=1 frames=17 blocks=8 barriers=4 needless=1 kernels=4 \
      rows=6 filtered=0 beside=0 images=0 lines=1 outside=0 collisions=0 zoomed=true columns=13 tables=0 odd=none
    [[ $seen =~ sources=([0-9]+) && ${BASH_REMATCH[1]} -ge 4 ]] || fail "plain: sources are missing: $seen"
    backgrounds[scheme]=$(grep -oE 'background=[^;]*' <<<"$seen")
  done
  [[ ${backgrounds[0]} != "${backgrounds[1]}" ]] || fail "light and dark are alike: ${backgrounds[0]}"
  look "$scratch/host.html" $width 1
  expect "timed by the host, $width" wide=$width wideOpen=$width points=4 roofs=0 blocks=6 odd=none
  look "$scratch/untimed.html" $width 1
  expect "not timed, $width" wide=$width wideOpen=$width points=0 frames=0 blocks=0 kernels=4 lines=1 odd=none
  look "$scratch/hostile.html" $width 1
  expect "hostile, $width" wide=$width wideOpen=$width images=0 kernels=4 blocks=8 odd=none
done

look "$scratch/counters.html" 390 1
expect "with counters" columns=15 tables=4 wide=390 wideOpen=390 odd=none

# What a driver wrote down stands beside the source.
sed 's:"texts"\:\[\]:"texts"\:[{"name"\:"ISA","description"\:"final","text"\:"v_add_f32 v0, v1, v2"}]:g' "$scratch/plain.html" >"$scratch/texts.html"
look "$scratch/texts.html" 390 1
expect "with ISA" beside=4 wide=390 wideOpen=390 odd=none

# A real one: a point for every kernel with its constants, a line of the table for every call.
sample=$STITHY_BUILD/bin/digits_mlp
if [[ -x $sample ]]; then
  "$stithy" profile --rounds 3 --html "$scratch/real.html" --jsonl "$scratch/real.jsonl" --perfetto "$scratch/real.pftrace" -- \
    "$sample" --epochs 200 --hidden 32 --batch 20 --out none >"$scratch/table" 2>&1 || fail "profile: $(<"$scratch/table")"
  kernels=$(tail -n +2 "$scratch/real.jsonl" | grep -oE '"kernel":"[^"]*","variant":"[^"]*"' | sort -u | wc -l)
  calls=$(tail -n +2 "$scratch/real.jsonl" | wc -l)
  for width in 1280 390; do
    look "$scratch/real.html" $width 1
    expect "digits_mlp, $width" wide=$width wideOpen=$width "points=$kernels" needless=0 filtered=0 outside=0 collisions=0 odd=none
    [[ $seen =~ blocks=([0-9]+) && ${BASH_REMATCH[1]} -ge $calls ]] || fail "not every one of $calls calls is on the timeline: $seen"
  done
  if command -v protoc >/dev/null; then
    protoc --decode_raw <"$scratch/real.pftrace" >"$scratch/decoded" || fail "protoc cannot decode the trace"
    for name in '"queue"' '"memory alive"' '"loss"' '"kernels"' '"adam_update"' '"copy in"' '"compile"'; do
      grep -q ": $name" "$scratch/decoded" || fail "no $name in the trace"
    done
  fi
fi
exit $((failures > 0))
