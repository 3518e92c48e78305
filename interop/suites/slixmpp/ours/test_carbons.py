"""Copies for the other devices of an account (XEP-0280), with slixmpp's plugin, for which its own tests have no case."""

from slixmpp.test.integration import SlixIntegration


class TestCarbons(SlixIntegration):
    """Two devices of one account, and a friend."""

    async def asyncSetUp(self):
        await super().asyncSetUp()
        for number in (1, 1, 2):
            self.add_client(self.envjid(f"CI_ACCOUNT{number}"), self.envstr(f"CI_ACCOUNT{number}_PASSWORD"))
        self.register_plugins(["xep_0030", "xep_0199", "xep_0280"])
        await self.connect_clients()
        for client in self.clients:
            client.send_presence()

    async def test_copies(self):
        """What one device gets and sends, the other one sees, as long as it wants to"""
        phone, desk, friend = self.clients
        await phone["xep_0280"].enable()
        friend.send_message(mto=desk.boundjid.full, mbody="to the desk", mtype="chat")
        copy = (await phone.wait_until("carbon_received"))["carbon_received"]
        self.assertEqual((copy["body"], copy["from"]), ("to the desk", friend.boundjid))
        desk.send_message(mto=friend.boundjid.full, mbody="from the desk", mtype="chat")
        copy = (await phone.wait_until("carbon_sent"))["carbon_sent"]
        self.assertEqual((copy["body"], copy["to"]), ("from the desk", friend.boundjid))
        await phone["xep_0280"].disable()
        copies = []
        phone.add_event_handler("carbon_sent", copies.append)
        desk.send_message(mto=friend.boundjid.full, mbody="for nobody else", mtype="chat")
        # What comes after the copy would have come before the answer.
        await phone["xep_0199"].ping(phone.boundjid.domain)
        self.assertEqual(copies, [])
