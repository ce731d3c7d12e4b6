"""The operator's page and the JSON API: aiohttp, Jinja and server-sent events; no build step, nothing from elsewhere.

    route.py      what a route is (who may, which command does the same), and what its handler is asked
    routes.py     THE table: every page and call, put together from the modules' own lists
    app.py        the application: who asks, may they, is the form theirs; then the handler; errors become words
    security.py   headers, hosts, proxies, cookies
    render.py     templates, static files, filters
    live.py       server-sent events: one look at Redis per process, however many people watch
    sessions.py   login, logout, theme;  users.py: user administration;  api.py: /api/v1

A page in five lines (`workers/console/runs.py`):

    async def runs(asked: Asked) -> web.Response:                                    # asked.tools holds what this user may see, no more
        return asked.page("runs.html", runs=await overview.runs(asked.tools))        # templates/runs.html extends base.html

    ROUTES = [Route("GET", "/runs", runs, role="viewer", cli="status", nav="Runs")]  # then add it to the table in routes.py

A form posts `{{ m.csrf() }}` with its fields; its handler reads `asked.form`, acts with `by=asked.by`, and ends with
`asked.go("/runs", notice="GetSuppliers was asked for")`. Wrong input raises ConfigError (its words are shown, status 400) or is shown again
with the page. A call of the API takes and gives pydantic models (`query=`, `body=`, `answer=`) and is documented from them. What changes
by itself stands in an element with an `id` and `data-live="runs letters"` (topics of live.py): it is fetched anew when they change.
"""
