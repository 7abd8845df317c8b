// Before the page is drawn: a token of this tab is signed in, as the style sheet is to know. A script, not a module.

if (sessionStorage.getItem("taskhub-token")) document.documentElement.dataset["token"] = "";
