package mollymawktest

import (
	"bytes"
	"embed"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"strings"
	"sync"
	"time"
)

//go:embed assets
var assets embed.FS

func asset(name string) string {
	data, err := assets.ReadFile("assets/" + name)
	if err != nil {
		panic("mollymawktest: " + err.Error()) // it is embedded
	}
	return string(data)
}

// images are one pixel in the place of Mollymawk's pictures.
var images = sync.OnceValue(func() (pictures struct{ png, jpeg string }) {
	pixel := image.NewGray(image.Rect(0, 0, 1, 1))
	var p, j bytes.Buffer
	_ = png.Encode(&p, pixel)       // a buffer takes all
	_ = jpeg.Encode(&j, pixel, nil) // as above
	pictures.png, pictures.jpeg = p.String(), j.String()
	return pictures
})

var htmlEscaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;")

func escapeHTML(s string) string { return htmlEscaper.Replace(s) }

func htmlHead(title string) string {
	return `<!DOCTYPE html>
<html xmlns="http://www.w3.org/1999/xhtml"><head><meta charset="UTF-8"/><title>` + escapeHTML(title) +
		`</title><link rel="icon" href="/images/robur.png"/><link rel="stylesheet" href="/style.css"/>` +
		`<script src="/main.js" defer></script></head>`
}

// guestPage is a page for who isn't signed in.
func guestPage(title, content string) string {
	return htmlHead(title) + `<body><header><a href="/">Mollymawk</a><nav><a href="/sign-in">Sign In</a>` +
		`<a href="/sign-up">Get Started</a></nav></header><main>` + content + `</main></body></html>`
}

// errorPage shows the text as a JSON string with its quotes escaped once more.
func errorPage(status int, title, text string) string {
	return guestPage(title, fmt.Sprintf(
		`<section><p>Error %d</p><p>%s</p><p>%s</p></section>`,
		status, escapeHTML(title), escapeHTML(escaped(encode(text)))))
}

// layout is a page for who is signed in.
func (c *call) layout(title, csrf, content string) string {
	c.srv.mu.Lock()
	admin := c.user.admin
	c.srv.mu.Unlock()
	links := []string{"/dashboard", "Dashboard", "/tokens", "Tokens", "/account", "Account"}
	if admin {
		links = append(links, "/admin/users", "Users")
	}
	var nav strings.Builder
	for i := 0; i < len(links); i += 2 {
		nav.WriteString(`<a href="` + links[i] + `">` + links[i+1] + `</a>`)
	}
	return htmlHead(title+" | Mollymawk") + `<body><header><a href="/">Mollymawk</a><nav>` + nav.String() + `</nav><span id="user">` +
		escapeHTML(c.user.name) + `</span>` + jsonForm("/logout", "/sign-in", csrf, "", "Logout") +
		`</header><main><h1>` + escapeHTML(title) + `</h1>` + content + `</main></body></html>`
}

// jsonForm is a form that main.js sends as JSON; then it goes to next.
func jsonForm(action, next, csrf, inputs, button string) string {
	if csrf != "" {
		inputs = `<input type="hidden" name="molly_csrf" value="` + csrf + `"/>` + inputs
	}
	return `<form data-send="json" method="post" action="` + escapeHTML(action) + `" data-next="` + escapeHTML(next) + `">` + inputs +
		`<button>` + button + `</button><output></output></form>`
}

func hidden(name, value string) string {
	return `<input type="hidden" name="` + name + `" value="` + escapeHTML(value) + `"/>`
}

func htmlTable(columns []string, rows [][]string) string {
	var b strings.Builder
	b.WriteString(`<table id="data-table"><thead><tr>`)
	for _, column := range columns {
		b.WriteString("<th>" + column + "</th>")
	}
	b.WriteString("</tr></thead><tbody>")
	for _, row := range rows {
		b.WriteString("<tr>")
		for _, cell := range row { // cells are HTML
			b.WriteString("<td>" + cell + "</td>")
		}
		b.WriteString("</tr>")
	}
	b.WriteString("</tbody></table>")
	return b.String()
}

// timeAgo is how long ago a time was, in the words of the page. A month has 28
// days when they are counted, and 30 before the first.
func timeAgo(now, t time.Time) string {
	d := int64(now.Sub(t) / time.Second)
	switch {
	case d < 60:
		return fmt.Sprintf("%d s ago", d)
	case d < 3600:
		return fmt.Sprintf("%d m ago", d/60)
	case d < 86400:
		return fmt.Sprintf("%d h ago", d/3600)
	case d < 604800:
		return fmt.Sprintf("%d d ago", d/86400)
	case d < 2592000:
		return fmt.Sprintf("%d w ago", d/604800)
	case d < 31536000:
		return fmt.Sprintf("%d mo ago", d/2419200)
	}
	return fmt.Sprintf("%d y ago", d/31536000)
}
