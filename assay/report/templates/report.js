// Each still becomes a live chart when it comes into view; the switches of a world hide methods in all its charts.
(() => {
  const views = new Map();
  const options = { ast: true, renderer: "svg", actions: false, defaultStyle: false, tooltip: { disableDefaultStyle: true } };

  const hidden = (holder) =>
    [...holder.closest("section").querySelectorAll(".switches input:not(:checked)")].map((box) => box.value);

  async function awaken(holder) {
    const spec = JSON.parse(document.getElementById(holder.dataset.spec).textContent);
    const still = holder.firstElementChild;
    const name = still.querySelector("title").textContent + ". " + still.querySelector("desc").textContent;
    const place = document.createElement("div");
    const { view } = await vegaEmbed(place, spec, options);
    await view.signal("hidden", hidden(holder)).runAsync();
    const picture = place.querySelector("svg");
    picture.setAttribute("class", "chart");
    picture.setAttribute("aria-hidden", "true"); // its parts have roles without names
    place.setAttribute("role", "img");
    place.setAttribute("aria-label", name);
    holder.replaceChildren(place);
    holder.classList.add("awake");
    views.set(holder, view);
  }

  const seen = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        if (entry.isIntersecting) {
          seen.unobserve(entry.target);
          awaken(entry.target);
        }
      }
    },
    { rootMargin: "300px" },
  );
  for (const holder of document.querySelectorAll(".live")) seen.observe(holder);

  for (const box of document.querySelectorAll(".switches")) {
    box.hidden = false;
    box.addEventListener("change", () => {
      for (const [holder, view] of views) {
        if (box.parentElement.contains(holder)) view.signal("hidden", hidden(holder)).runAsync();
      }
    });
  }
})();
