// Pages in Firefox: `node firefox.mjs <binary> <profile folder> <url> …`. Prints `<number of the page>\t<console line>`.

import puppeteer from "puppeteer-core";

const [executablePath, userDataDir, ...urls] = process.argv.slice(2);
const browser = await puppeteer.launch({
  browser: "firefox",
  protocol: "webDriverBiDi",
  executablePath,
  userDataDir,
  acceptInsecureCerts: true, // the certificate of the tests vouches for itself
  // It opens six connections to a server at a time, and all pages together have more.
  extraPrefsFirefox: { "network.http.max-persistent-connections-per-server": 100 },
});
await Promise.all(
  urls.map(async (url, number) => {
    const page = await browser.newPage();
    page.on("console", (message) => console.log(`${number}\t${message.text()}`));
    await page.goto(url);
  }),
);
process.on("SIGTERM", () => browser.close().then(() => process.exit(0)));
