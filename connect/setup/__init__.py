"""`connect init` and `connect promote`, without a terminal: from answers to files.

questions.py    the questions, in the guide's order, with their defaults and what may be answered
answers.py      a file of answers: read with every mistake at once, written as a form
limits.py       what is answered and cannot be served, or is missing on the customer's side
dimensions.py   which dimensions Sage has, how they are used, and which eight to take
proposals.py    what Sage itself says to a question
timetable.py    when each job starts
tables.py       answers -> the tables of connect.toml, and the variables of its secrets
papers.py       the check list and the page for the customer, in Markdown
promote.py      a test connection becomes a production connection
"""
