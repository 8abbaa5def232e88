// Small charts. Each says in words what it shows; a table with the numbers stands beside it.
import { h, svg } from "./dom.js";
import { count, share } from "./format.js";
import { T } from "./texts.js";

/** Parts of a whole, as a table whose rows have bars. `parts`: [{name, value, tone}]. */
export function breakdown(caption, parts, columns) {
  const total = parts.reduce((sum, part) => sum + part.value, 0) || 1;
  return h(
    "table",
    { class: "breakdown" },
    h("caption", { class: "sr" }, caption),
    h("thead", { class: "sr" }, h("tr", {}, h("th", { scope: "col" }, columns[0]), h("th", { scope: "col" }, columns[1]), h("th", { scope: "col" }, T.health.share))),
    h("tbody", {}, parts.map(({ name, value }) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, name),
        h("td", { class: "number" }, count(value)),
        h("td", { class: "lane" }, h("span", { class: "bar", style: { width: `${(100 * value) / total}%` } }), h("span", { class: "sr" }, share(value / total))),
      ),
    )),
  );
}

/** A histogram of equally wide bars. `buckets`: [{count}]. */
export function histogram(description, buckets) {
  const most = Math.max(1, ...buckets.map((bucket) => bucket.count));
  const width = 100 / buckets.length;
  return svg(
    "svg",
    { class: "histogram", viewBox: "0 0 100 32", preserveAspectRatio: "none", role: "img", "aria-label": description },
    buckets.map((bucket, index) => {
      const height = (30 * bucket.count) / most;
      return svg("rect", { x: index * width + width * 0.08, width: width * 0.84, y: 31 - height, height: Math.max(height, 0.6) });
    }),
  );
}
