// Forms are sent as Mollymawk's own pages send them: as JSON, or with files as a
// form. An answer counts as success by the status in its body.
async function send(form) {
	const options = { method: "POST" };
	if (form.dataset.send === "json") {
		const body = {};
		for (const input of form.elements) {
			if (input.name) {
				body[input.name] = input.dataset.type === "number" ? Number(input.value) : input.value;
			}
		}
		options.headers = { "Content-Type": "application/json" };
		options.body = JSON.stringify(body);
	} else {
		options.body = new FormData(form);
	}
	const response = await fetch(form.getAttribute("action"), options);
	const answer = await response.json();
	if (answer.status !== 200) {
		throw new Error(answer.data);
	}
}

document.addEventListener("submit", async (event) => {
	const form = event.target;
	if (!form.dataset.send) {
		return;
	}
	event.preventDefault();
	try {
		await send(form);
		window.location = form.dataset.next;
	} catch (error) {
		form.querySelector("output").textContent = error.message;
	}
});

document.addEventListener("input", (event) => {
	if (event.target.id !== "searchQuery") {
		return;
	}
	const wanted = event.target.value.toLowerCase();
	for (const row of document.querySelectorAll("#data-table tbody tr")) {
		row.hidden = !row.textContent.toLowerCase().includes(wanted);
	}
});

const output = document.getElementById("console-output");
if (output) {
	const events = new EventSource("/api/unikernel/console" + window.location.search);
	events.onmessage = (event) => {
		const { timestamp, line } = JSON.parse(event.data);
		output.value += timestamp + " " + line + "\n";
		output.scrollTop = output.scrollHeight;
	};
}
