"""A publisher that writes one line about the run into a file of its report folder."""

from flue_ci.report.report import Published


class NotePublisher:
    needs_forge = False

    async def publish(self, report, patch, target):
        note = target.folder / "note.txt"
        note.write_text(f"{report.agent}: {report.conclusion}, {len(patch)} bytes\n")
        return Published(publisher="note", url=note.as_uri())
