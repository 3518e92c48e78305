"""Reports to those who look after the server (XEP-0377), with slixmpp's plugin, for which its own tests have no case."""

import asyncio

from slixmpp.test.integration import SlixIntegration

SPAMMER = "spammer@example.com"


class TestReports(SlixIntegration):
    """Somebody, and the administrator."""

    async def asyncSetUp(self):
        await super().asyncSetUp()
        for who in ("ACCOUNT1", "ADMIN"):
            self.add_client(self.envjid(f"CI_{who}"), self.envstr(f"CI_{who}_PASSWORD"))
        self.register_plugins(["xep_0030", "xep_0191", "xep_0377"])
        await self.connect_clients()
        for client in self.clients:
            client.send_presence()

    async def test_report(self):
        """Who is reported is blocked, and the administrator reads by whom and why"""
        somebody, administrator = self.clients
        info = await somebody["xep_0030"].get_info(somebody.boundjid.domain)
        self.assertIn("urn:xmpp:reporting:1", info["disco_info"]["features"])
        # Which of the two comes first is nobody's business.
        message, _ = await asyncio.gather(
            administrator.wait_until("message"), somebody["xep_0377"].report(SPAMMER, reason="abuse")
        )
        try:
            self.assertEqual(await somebody["xep_0191"].get_blocked_jids(), {SPAMMER})
        finally:
            await somebody["xep_0191"].unblock(SPAMMER)
        told = message["body"]
        for fact in (somebody.boundjid.bare, SPAMMER, "urn:xmpp:reporting:abuse"):
            self.assertIn(fact, told)
